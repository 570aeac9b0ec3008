"""A scan that is killed and started again ends with the same bytes as one that was left alone."""

import dataclasses
import os
import signal
import subprocess
import sys
import textwrap

import pyarrow as pa
import pytest

from nlae.corpus.corpus import DOCUMENTS, ROWS
from nlae.dictionary.scan import parts, scanning
from nlae.dictionary.scan.scanning import Reader
from nlae.errors import NlaeError
from nlae.files.arrow import write_table

CHILD = """
    import itertools, sys
    from pathlib import Path
    from nlae.corpus import Corpus
    from nlae.dictionary.scan import Scanner, scanning
    from nlae.target import TinyTarget
    read, state = scanning.Reader.read, scanning.read_state
    def resumed(*given):
        global numbers
        done = state(*given)
        numbers = itertools.count(done)
        return done
    def in_step(self, window):
        print(next(numbers), flush=True)
        sys.stdin.readline()  # until the parent has decided that this one is read
        return read(self, window)
    scanning.Reader.read, scanning.read_state = in_step, resumed
    settings = Scanner(**SETTINGS)
    settings.scan(TinyTarget(layers=3).load(), Corpus.open(sys.argv[1]), Path(sys.argv[2]), seed=1)
"""


def content(folder):
    """Every file of a finished scan; there must be nothing else."""
    assert not (folder / parts.RESUME).exists()
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def child(corpus_folder, folder, settings):
    fields = {name: getattr(settings, name) for name in settings.__dataclass_fields__}
    code = textwrap.dedent(CHILD).replace("**SETTINGS", f"**{fields!r}")
    return subprocess.Popen(
        [sys.executable, "-c", code, str(corpus_folder), str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture(scope="module")
def corpus_folder(tmp_path_factory, scanned):
    """The invented corpus as files again, for another process."""
    folder = tmp_path_factory.mktemp("corpus")
    rows = scanned.corpus.rows
    write_table(folder / DOCUMENTS, scanned.corpus.documents)
    columns = {name: pa.array(getattr(rows, name)) for name in ("row", "document", "position", "token_id")}
    write_table(folder / ROWS, pa.table({**columns, "split": pa.array(list(rows.split), pa.string())}))
    return folder


def stopped_after_seven(monkeypatch):
    """Stop every scan when it reads its eighth window; returns the numbers of the windows that they began with."""
    read, state, began, seen = Reader.read, scanning.read_state, [], []

    def resumed(*given):
        began.append(state(*given))
        seen.clear()
        return began[-1]

    def counted(self, window):
        seen.append(window)
        if len(seen) > 7:
            raise NlaeError("stopped")
        return read(self, window)

    monkeypatch.setattr(Reader, "read", counted)
    monkeypatch.setattr(scanning, "read_state", resumed)
    return began


def test_killed_at_several_windows_and_resumed_it_is_the_same(tmp_path, corpus_folder, scanned):
    seen = []
    for stop in (1, 5, 11):  # before the first state, after it, among the other splits
        process = child(corpus_folder, tmp_path, scanned.settings)
        started = None
        for line in process.stdout:
            started = int(line) if started is None else started
            if int(line) >= stop:
                os.kill(process.pid, signal.SIGKILL)
                break
            process.stdin.write("\n")
            process.stdin.flush()
        process.communicate()
        assert process.returncode == -signal.SIGKILL
        seen.append(started)
    last = child(corpus_folder, tmp_path, scanned.settings)
    out, error = last.communicate("", timeout=120)  # nothing more to read: it runs to its end
    assert last.returncode == 0, error
    seen.append(int(out.splitlines()[0]))
    assert scanned.settings.checkpoint_every == 3
    assert seen == [0, 0, 3, 9]
    assert int(out.splitlines()[-1]) > 11
    whole = content(scanned.scan.folder)
    assert content(tmp_path) == whole
    assert len(whole) > 10


@pytest.mark.parametrize("when", ["finish", "facts"])
def test_stopped_while_the_files_are_written(tmp_path, scanned, monkeypatch, when):
    def fail(*_):
        raise NlaeError("cannot write: No space left on device")

    name = {"finish": "nlae.dictionary.scan.parts._write_panel", "facts": "nlae.dictionary.scan.scanning.write_text"}
    monkeypatch.setattr(name[when], fail)
    with pytest.raises(NlaeError, match="No space left"):
        scanned.settings.scan(scanned.target, scanned.corpus, tmp_path, seed=1)
    monkeypatch.undo()
    monkeypatch.setattr(Reader, "read", lambda *_: pytest.fail("read again"))
    assert scanned.settings.scan(scanned.target, scanned.corpus, tmp_path, seed=1) == scanned.metrics
    assert content(tmp_path) == content(scanned.scan.folder)


def test_a_state_of_other_settings_or_without_its_parts_is_not_used(tmp_path, scanned, monkeypatch):
    began = stopped_after_seven(monkeypatch)
    with pytest.raises(NlaeError, match="stopped"):
        scanned.settings.scan(scanned.target, scanned.corpus, tmp_path, seed=2)
    with pytest.raises(NlaeError, match="stopped"):  # another seed: from the start
        scanned.settings.scan(scanned.target, scanned.corpus, tmp_path, seed=1)
    assert began[-1] == 0
    parts.part_path(tmp_path, 2).unlink()
    with pytest.raises(NlaeError, match="stopped"):
        scanned.settings.scan(scanned.target, scanned.corpus, tmp_path, seed=1)
    assert began[-1] == 0
    monkeypatch.undo()
    scanned.settings.scan(scanned.target, scanned.corpus, tmp_path, seed=1)
    assert content(tmp_path) == content(scanned.scan.folder)


def test_another_seed_in_the_same_folder_replaces_what_was_there(tmp_path, scanned):
    scanned.settings.scan(scanned.target, scanned.corpus, tmp_path, seed=2)
    assert content(tmp_path) != content(scanned.scan.folder)
    scanned.settings.scan(scanned.target, scanned.corpus, tmp_path, seed=1)
    assert content(tmp_path) == content(scanned.scan.folder)


def test_a_state_of_another_size_of_windows_is_begun_anew(tmp_path, scanned, monkeypatch):
    began = stopped_after_seven(monkeypatch)
    with pytest.raises(NlaeError, match="stopped"):
        scanned.settings.scan(scanned.target, scanned.corpus, tmp_path, seed=1)
    other = dataclasses.replace(scanned.settings, window_tokens=256)
    with pytest.raises(NlaeError, match="stopped"):
        other.scan(scanned.target, scanned.corpus, tmp_path, seed=1)
    assert began[-1] == 0
