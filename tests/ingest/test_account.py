"""The account of a document says how many characters it has, how many are kept, and why others are not."""

from __future__ import annotations

from tools.raft.ingest.account import LOST, Account, total_account
from tools.raft.ingest.corpus import collect_chunks


def test_what_no_reason_explains_is_a_loss_in_the_conversion():
    account = Account("a.docx")
    account.add(kept=70, seen=100, left_out={"comments": 20})
    assert account.left_out == {"comments": 20, LOST: 10}
    assert (account.kept, account.seen, account.share_lost) == (70, 100, 0.3)
    assert account.describe_loss() == "30% of its 100 characters (20 comments, 10 lost in conversion)"


def test_characters_that_a_reader_adds_are_no_loss_and_count_as_seen():
    account = Account("list.html")
    account.add(kept=103, seen=100, left_out={})  # the numbers of a list
    assert (account.kept, account.seen, dict(account.left_out)) == (103, 103, {})


def test_the_documents_of_a_file_and_the_files_of_a_corpus_add_up():
    first, second = Account("a.jsonl"), Account("b.pdf")
    first.add(kept=10, seen=12, left_out={"other fields": 2})
    first.add(kept=5, seen=5, left_out={})
    second.add(kept=90, seen=100, left_out={"running heads and page numbers": 10})
    total = total_account([first, second])
    assert (total.documents, total.seen, total.kept) == (3, 117, 105)
    assert total.left_out == {"other fields": 2, "running heads and page numbers": 10}


def test_chunks_without_content_and_repeated_chunks_are_in_the_account(tmp_path):
    tides = "The tide of the bay turns at nine in the morning, and the ferry leaves an hour later."
    (tmp_path / "a.txt").write_text(tides, encoding="utf-8")
    (tmp_path / "b.txt").write_text(tides, encoding="utf-8")
    (tmp_path / "c.txt").write_text("Too short.", encoding="utf-8")
    corpus = collect_chunks([tmp_path], chunk_size=64)
    a, b, c = corpus.accounts
    assert a.kept == a.seen == sum(map(str.isalnum, tides))
    assert b.left_out == {"in chunks: repeats another chunk": a.seen}
    assert c.left_out == {"in chunks: hardly any text": 8}
    assert [account.to_dict()["kept"] for account in corpus.accounts] == [a.seen, 0, 0]
