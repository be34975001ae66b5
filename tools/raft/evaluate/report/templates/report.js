// Filters: a question is shown where it matches all that is chosen. Without scripts the page shows everything.
const form = document.querySelector('#filters');
form.hidden = false;
const filtered = [...document.querySelectorAll('[data-outcome]')];
const told = document.querySelector('#shown');

function choose() {
  const wanted = Object.fromEntries(new FormData(form));
  const words = wanted.text.toLocaleLowerCase().split(/\s+/).filter(Boolean);
  let shown = 0;
  for (const one of filtered) {
    const text = one.textContent.toLocaleLowerCase();
    const fits = ['arm', 'outcome', 'oracle', 'source', 'type']
      .every(name => !wanted[name] || !(name in one.dataset) || one.dataset[name].split(' ; ').includes(wanted[name]));
    one.hidden = !(fits && words.every(word => text.includes(word)));
    if (!one.hidden && one.tagName === 'TR') shown += 1;
  }
  told.textContent = `${shown} of ${filtered.filter(one => one.tagName === 'TR').length} questions`;
}

form.addEventListener('input', choose);
form.addEventListener('reset', () => setTimeout(choose));
form.addEventListener('submit', event => event.preventDefault());
choose();
