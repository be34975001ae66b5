"""LaTeX files, read as their pages show them."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

from tests.document_files import lines_of, read_parsed, skip_reason


def make_latex(path: Path, body: str, *, head: str = "", encoding: str = "utf-8") -> Path:
    source = rf"\documentclass{{article}}{head}\begin{{document}}{body}\end{{document}}"
    path.write_bytes(source.encode(encoding))
    return path


def test_a_paper_is_read_with_title_abstract_macros_notes_and_citations(tmp_path: Path) -> None:
    head = r"""
\newcommand{\bat}[1]{the #1 horseshoe bat}
\title{Bats of the \emph{Vale}}\author{Ann Author}
"""
    body = r"""
\maketitle
\begin{abstract}We count bats.% nobody sees this
\end{abstract}
\section{Methods}\label{sec:m}
We weighed \bat{lesser}~\cite{smith,jones}: $5$--$9$ grams.\footnote{At dusk.} See Section~\ref{sec:m}.
\begin{tabular}{l|r}\hline Cave & 2024\\\hline Harrow & 12\\\hline\end{tabular}
\[ m = \rho V \]
\begin{thebibliography}{9}\bibitem{smith} Smith, J. Bats. 2020.\bibitem[JN]{jones} Jones, N. Caves.\end{thebibliography}
"""
    parsed = read_parsed(make_latex(tmp_path / "paper.tex", body, head=head))
    assert parsed["title"] == "Bats of the Vale"
    assert lines_of(parsed) == [
        "# Bats of the Vale", "Ann Author", "Abstract", "We count bats.", "# Methods",
        "We weighed the lesser horseshoe bat [smith, jones]: $5$–$9$ grams.[1] See Section 1.",
        "| Cave | 2024 |", "| --- | --- |", "| Harrow | 12 |", r"$$m = \rho V$$",
        "- [smith] Smith, J. Bats. 2020.", "- [jones] Jones, N. Caves.", "[1] At dusk.",
    ]  # fmt: skip
    assert not parsed["notes"]


def test_what_is_not_understood_is_counted_and_what_is_included_is_named_but_not_read(tmp_path: Path) -> None:
    (tmp_path / "secret.tex").write_text("The password is swordfish.", encoding="utf-8")
    body = rf"""
\section{{Roosts}} Before \strangecommand{{eleven chars}} after.
\begin{{tikzpicture}}\draw (0,0) node {{label}};\end{{tikzpicture}}
\input{{secret}}\input{{{tmp_path / "secret.tex"}}}\include{{chapter two}}
"""
    parsed = read_parsed(make_latex(tmp_path / "main.tex", body))
    assert lines_of(parsed) == ["# Roosts", "Before after."]
    assert parsed["left_out"] == {"arguments of skipped commands": 11, "text in drawings": 11}
    [note] = parsed["notes"]
    assert "secret.tex" in note and "chapter two" in note
    assert "swordfish" not in str(parsed)


def test_a_chapter_without_a_preamble_has_its_first_heading_as_title(tmp_path: Path) -> None:
    (tmp_path / "chapter.tex").write_text("\\chapter{The Weir}\nIt holds 40 tonnes.\n", encoding="utf-8")
    parsed = read_parsed(tmp_path / "chapter.tex")
    assert (parsed["title"], lines_of(parsed)) == ("The Weir", ["# The Weir", "It holds 40 tonnes."])


def test_an_older_file_is_decoded_as_it_declares(tmp_path: Path) -> None:
    for declared, encoding in (("latin1", "cp1252"), ("cp1251", "cp1251"), ("applemac", "mac_roman")):
        words = "Привет мир" if encoding == "cp1251" else "Größe: café"
        head = rf"\usepackage[{declared}]{{inputenc}}"
        # The declaration is on a line of its own, as people write it.
        path = make_latex(tmp_path / "old.tex", words, head=f"\n{head}\n", encoding=encoding)
        assert lines_of(read_parsed(path)) == [words]
    assert "save it as UTF-8" in skip_reason(tmp_path, "undeclared.tex", "Größe".encode("cp1252"))


def test_macros_that_grow_beyond_all_limits_are_refused(tmp_path: Path) -> None:
    names = "abcdefghijklmnopqrstuvwxyz"
    doubling = "".join(rf"\newcommand{{\x{one}}}{{\x{two}\x{two}}}" for one, two in pairwise(names))
    endless = rf"\newcommand{{\x{names[-1]}}}{{\xa}}"
    assert "broken" in skip_reason(tmp_path, "endless.tex", (doubling + endless + r"\xa").encode())
    finite = rf"\newcommand{{\x{names[-1]}}}{{ha}}"  # 33,554,432 times
    reason = skip_reason(tmp_path, "finite.tex", (doubling + finite + r"\xa").encode(), parse_seconds=1)
    assert "broken" in reason


def test_what_only_shapes_a_page_leaves_its_content(tmp_path: Path) -> None:
    body = r"""
\begin{multicols}{2}In columns.\end{multicols}

\resizebox{\textwidth}{!}{\begin{tabular}{lc}\multirow{2}{*}{M} & 1 \\ \cline{2-2} & 2 \\\end{tabular}}

\begin{wrapfigure}{r}{3cm}\includegraphics{x}\caption{A caption.}\end{wrapfigure}

\vspace{3cm}\scalebox{0.5}{Small} \ce{CO2} \rotatebox[origin=c]{90}{turned}
"""
    assert lines_of(read_parsed(make_latex(tmp_path / "x.tex", body))) == [
        "In columns.", "| M | 1 |", "| --- | --- |", "| M | 2 |", "A caption.", "Small CO2 turned",
    ]  # fmt: skip


def test_a_broken_file_is_refused_with_its_line(tmp_path: Path) -> None:
    reason = skip_reason(tmp_path, "x.tex", rb"\section{A}" + b"\n\na } b\n")
    assert reason == "broken: its parts cannot be converted (line 3)"


def test_a_command_of_a_missing_style_shows_what_it_says(tmp_path: Path) -> None:
    body = r"""
\monocolumn{\begin{enumerate}\item The gate holds forty tonnes.\end{enumerate}} \only<2->{Shown later.}

\twice[wide]{Left of the river.}{Right of it.} \todo{ask the warden again} \setup{colour = dark red here}
"""
    parsed = read_parsed(make_latex(tmp_path / "x.tex", body))
    assert lines_of(parsed) == [
        "1. The gate holds forty tonnes.", "Shown later.", "Left of the river. Right of it.",
    ]  # fmt: skip
    assert parsed["left_out"] == {"arguments of skipped commands": 34}
