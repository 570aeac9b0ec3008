"""The catalogue of bad inputs, and what the one line must name of each: what, where, what to do. Add yours at the end.

`{in}` is a folder with the files of `lay`. Commands run with the tiny target unless they choose another.
"""

import gzip
import json
import struct
import zipfile
from pathlib import Path

import numpy as np

LINE = {"text": "The river runs past the old town and down to the sea, and nobody hurries. " * 3}


def lay(folder: Path) -> None:
    """Files that people hand over by mistake."""
    (folder / "model").mkdir(parents=True)
    (folder / "folder.txt").mkdir()
    (folder / "nothing here").mkdir()
    (folder / "data [2024]").mkdir()
    (folder / "data [2024]" / "a.jsonl").write_text((json.dumps(LINE) + "\n") * 5)
    (folder / "empty.txt").write_text("")
    (folder / "spaces.txt").write_text(" \n\t\n\u3000\n")
    (folder / "short.txt").write_text("Too short.")
    (folder / "binary.txt").write_bytes(bytes(range(128, 256)) * 40)
    (folder / "zero.txt").write_bytes(b"abc\0def")
    (folder / "utf16.txt").write_bytes("A text in another encoding.".encode("utf-16"))
    (folder / "cut16.txt").write_bytes("Broken.".encode("utf-16")[:-1])
    (folder / "latin.txt").write_bytes("crème brûlée".encode("latin-1"))
    (folder / "one.txt").write_text(LINE["text"] * 20)
    (folder / "paper.pdf").write_bytes(b"%PDF-1.7\n")
    (folder / "a.txt.gz").write_bytes(gzip.compress(b"text"))
    with zipfile.ZipFile(folder / "a.zip", "w") as file:
        file.writestr("a.txt", "text")
    (folder / "table.csv").write_text("a,b\n1,2\n")
    (folder / "empty.jsonl").write_text("\n\n")
    (folder / "array.jsonl").write_text(json.dumps([LINE, LINE]))
    (folder / "wrong.jsonl").write_text('{"body": "a"}\n' * 5)
    (folder / "null.jsonl").write_text('{"text": null}\n' * 5)
    (folder / "numbers.jsonl").write_text('{"text": 7}\n' * 5)
    (folder / "broken.jsonl").write_text((json.dumps(LINE) + "\n") * 4 + '{"text": "half\n')
    (folder / "deep.jsonl").write_text("[" * 100_000 + "\n")
    (folder / "chat.jsonl").write_text('{"messages": [{"from": "human", "value": "hello"}]}\n' * 5)
    (folder / "same.jsonl").write_text((json.dumps(LINE) + "\n") * 50)
    (folder / "bad.parquet").write_bytes(b"PAR1 no")
    (folder / "empty.json").write_text("")
    (folder / "object.json").write_text("{}")
    (folder / "list.json").write_text("[]")
    (folder / "tools.json").write_text('[{"role": "assistant", "content": null}]')
    (folder / "half.json").write_text('[{"role": "user", "content": "\\ud800"}]')
    (folder / "norole.json").write_text('[{"content": "hello"}]')
    (folder / "number.json").write_text('[{"role": "user", "content": 7}]')
    np.save(folder / "zero.npy", np.zeros(64))
    np.save(folder / "nan.npy", np.full(64, np.nan))
    np.save(folder / "cube.npy", np.ones((2, 2, 2)))
    np.save(folder / "objects.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    (folder / "cut.npy").write_bytes(b"\x93NUMPY")
    (folder / "cut.safetensors").write_bytes(struct.pack("<Q", 10**12) + b"{}")
    (folder / "v.pt").write_bytes(b"PK")
    (folder / "half pair").mkdir()
    (folder / "half pair" / "nla_meta.yaml").write_text("kind: [")
    (folder / "list pair").mkdir()
    (folder / "list pair" / "nla_meta.yaml").write_text("- a\n- b\n")
    (folder / "configs" / "corpus").mkdir(parents=True)
    (folder / "configs" / "corpus" / "mine.yaml").write_text("_target_: os.system\ncommand: ls\n")
    (folder / "configs" / "corpus" / "broken.yaml").write_text("a: [\n")


# words of the command, and what the line must say; a tuple where it must say several things
CASES: list[tuple[list[str], str | tuple[str, ...]]] = [
    # words and keys
    (["evalute"], "did you mean 'evaluate'"),
    (["corpus", "extract"], "two goals at once"),
    (["--multrun"], "did you mean '--multirun'"),
    (["--cfg"], "needs a value"),
    (["corpus", "--config-dir", "{in}/gone"], "no such folder"),
    (["corpus", "seeed=3"], "unknown key or group 'seeed'; did you mean 'seed'?"),
    (["corpus", "corpus=stdlibb"], "did you mean 'stdlib'?"),
    (["corpus", "experiment=quickstat"], "did you mean 'quickstart'"),
    (["corpus", "corpus=files", "corpus.paths=[x]", "corpus.max_tokns=3"], "did you mean 'corpus.max_tokens'?"),
    (["corpus", "corpus.max_tokns=3"], "did you mean 'corpus.max_tokens'?"),
    (["corpus", "site.layer=1,2"], "add -m"),
    (["corpus", "corpus=mine", "--config-dir", "{in}/configs"], "unknown key corpus.max_documents"),  # and not called
    (["corpus", "corpus=broken", "--config-dir", "{in}/configs"], ("a file is no YAML", "broken.yaml")),
    # numbers
    (["extract", "site.layer=9"], "layers 0 to 3"),
    (["extract", "site.layer=-1"], "site.layer=-1 must be at least 0"),
    (["extract", "site.layer=last"], "site.layer=last must be a whole number"),
    (["extract", "site.depth=1.5"], "site.depth=1.5 must be at least 0 and at most 1"),
    (["extract", "site.layer=1", "site.depth=0.5"], "name two places"),
    (["extract", "store.batch_tokens=many"], "store.batch_tokens=many must be a whole number"),
    (["extract", "store.batch_tokens=-5"], "store.batch_tokens=-5 must be at least 1"),
    (["extract", "store.shard_rows=0"], "store.shard_rows=0 must be at least 1"),
    (["extract", "store.dtype=int8"], "store.dtype"),
    (["corpus", "corpus.val_share=nan"], "corpus.val_share=nan"),
    (["corpus", "corpus.min_tokens=20", "corpus.max_tokens=10"], "corpus.min_tokens=20 exceeds corpus.max_tokens=10"),
    (["corpus", "corpus.max_tokens=64.5"], "corpus.max_tokens=64.5 must be a whole number"),
    (["corpus", "corpus.max_documents=2"], "corpus.max_documents=2 is too few"),
    (["corpus", "corpus.seed=-1"], "corpus.seed=-1 must be at least 0"),
    (["corpus", "seed=one"], "seed=one: expected a whole number"),
    (["corpus", "corpus.split_by=chapter"], "choose source or document"),
    (["reinforce", "objective.samples=1"], "objective.samples=1 must be at least 2"),
    (["reinforce", "objective.verbalizer_lr=inf"], "objective.verbalizer_lr=inf must be"),
    (["reinforce", "objective.control=ppo"], "choose null or one of frozen"),
    (["warmstart", "verbalizer.updates=true"], "verbalizer.updates=True must be a whole number"),
    (["warmstart", "verbalizer.adapter.rank=0"], "verbalizer.adapter.rank=0 must be at least 1"),
    (["warmstart", "trainer.precision=fp61"], "choose one of auto, 32-true"),
    (["warmstart", "machine.threads=0"], "machine.threads=0"),
    (["warmstart", "trainer=gpu", "trainer.devices=[99]"], "trainer."),
    (["evaluate", "trainer.devices=2"], "set trainer.devices=1"),
    (["evaluate", "-m", "seed=0,1", "trainer.devices=2"], "cannot hold several devices"),
    (["evaluate", "evaluation.subject=pair"], "choose warmstart or reinforce"),
    (["dictionary", "dictionary.layers=3"], "dictionary.layers=3 must be"),
    (["dictionary", "dictionary.layers=[1,1]"], "names a layer twice"),
    (["dictionary", "dictionary.own=[1]"], "unknown key or group 'dictionary.own'"),
    (["dictionary", "dictionary.contexts_at=mlp_in"], "unknown key or group 'dictionary.contexts_at'"),
    (["dictionary", "dictionary.autoencoder.updates=3"], "unknown key or group 'dictionary.autoencoder.updates'"),
    (["dictionary", "dictionary=judged"], "did you mean 'judged_local'"),
    (["dictionary", "experiment=dictionary_smollm2"], "dictionary_smollm2"),
    (["dictionary", "dictionary.reader=trained"], "dictionary.reader=trained: unknown; choose among bag"),
    (["dictionary", "dictionary.shrinkage=[0.0]"], "dictionary.shrinkage[0]=0.0 must be above 0 and at most 1"),
    (["dictionary", "dictionary.penalty=[]"], "dictionary.penalty is empty"),
    (["dictionary", "dictionary.weights=[[1.0,1.0]]"], "dictionary.weights: each is three numbers"),
    (["dictionary", "dictionary.tokens=0"], "dictionary.tokens=0 must be at least 1"),
    (["dictionary", "dictionary.max_false=1.5"], "dictionary.max_false=1.5 must be at least 0 and at most 1"),
    (["dictionary", "dictionary.scan.panels.val=100"], "dictionary.scan.panels"),
    (["dictionary", "dictionary.scan.runs.test=0"], "dictionary.scan.runs.test=0 must be at least 1"),
    # prompts
    (["warmstart", "prompt.marker=several words"], "tokens for this tokenizer, not one"),
    (["warmstart", "prompt.verbalizer=none here"], "prompt.verbalizer holds {slot} 0 times"),
    (["warmstart", "prompt.reconstructor=none here"], "prompt.reconstructor holds {explanation} 0 times"),
    # texts
    (["corpus", "corpus=files"], "needs corpus.paths"),
    *[
        (["corpus", "corpus=files", f"corpus.paths=[{{in}}/{name}]"], said)
        for name, said in (
            ("empty.txt", "empty.txt is empty: leave it out"),
            ("spaces.txt", "spaces.txt is empty: leave it out"),
            ("short.txt", "lower corpus.min_tokens"),
            ("one.txt", "three splits need three"),
            ("binary.txt", "binary.txt is no UTF-8 text"),
            ("zero.txt", "zero.txt is binary"),
            ("utf16.txt", "utf16.txt is UTF-16: convert it"),
            ("cut16.txt", "cut16.txt is UTF-16: convert it"),
            ("latin.txt", "latin.txt is no UTF-8 text (byte 2)"),
            ("paper.pdf", "cannot read .pdf; give txt, md, jsonl or parquet"),
            ("a.txt.gz", "cannot read .gz; give txt"),
            ("a.zip", "cannot read .zip; give txt"),
            ("table.csv", "cannot read .csv; give txt"),
            ("absent-*.txt", "nothing matches"),
            ("nothing here", "nothing matches"),
            ("folder.txt", "nothing matches"),
            ("empty.jsonl", "empty.jsonl is empty"),
            ("array.jsonl", ("array.jsonl:1: list instead of an object", "corpus.max_broken_share")),
            ("wrong.jsonl", ("wrong.jsonl:1: no text under 'text'", "it has body", "set corpus.text_key")),
            ("null.jsonl", "null.jsonl:1: no text under 'text'"),
            ("numbers.jsonl", "numbers.jsonl:1: int, no text, under 'text'"),
            ("broken.jsonl", ("broken.jsonl:5: no JSON", "1 of 5 records", "mend them")),
            ("deep.jsonl", "deep.jsonl:1: no JSON"),
            ("chat.jsonl", "chat.jsonl:1: messages: message 0 has no text under `role` (it has from, value)"),
            ("same.jsonl", "three splits need three"),
            ("bad.parquet", "bad.parquet is no readable parquet file"),
        )
    ],
    (["corpus", "corpus=files", "corpus.paths=[{in}/one.txt]", "corpus.heading='('"], "is no regular expression"),
    (["corpus", "corpus=files", "corpus.paths=7"], "nothing matches 7"),
    (["corpus", "corpus=files", "corpus.paths=[{in}/" + "x" * 300 + "]"], "corpus.paths"),
    (["corpus", "corpus=hub", "corpus.dataset={in}/nothing here"], "nothing here"),
    (["corpus", "corpus=hub", "corpus.dataset={in}/data [2024]"], ("data [2024]", "rename the folder")),
    # what explain is given; a pair is looked for only then
    (["explain", "text=hello", "file=b"], "found"),
    *[
        (["explain", f"file={{in}}/{name}"], said)
        for name, said in (
            ("empty.txt", "empty"),
            ("binary.txt", "not UTF-8 text"),
            ("zero.txt", "zero byte"),
            ("folder.txt", "Is a directory"),
            ("gone.txt", "No such file"),
            ("broken.jsonl", "line 5 is not JSON"),
        )
    ],
    *[
        (["explain", f"messages={{in}}/{name}"], said)
        for name, said in (
            ("empty.json", "not JSON"),
            ("object.json", "non-empty list"),
            ("list.json", "non-empty list"),
            ("tools.json", "none of its messages holds text"),
            ("half.json", "half a character"),
            ("norole.json", "no text under `role`"),
            ("number.json", "its `content` is int"),
            ("gone.json", "No such file"),
        )
    ],
    *[
        (["explain", f"vector={{in}}/{name}"], said)
        for name, said in (
            ("zero.npy", "is zero or holds values that are not finite"),
            ("nan.npy", "not finite"),
            ("cube.npy", "expected numbers, [D] or [N, D]"),
            ("objects.npy", "without pickle"),
            ("cut.npy", "cannot be read"),
            ("cut.safetensors", "cannot be read"),
            ("v.pt", "expected a .safetensors or .npy file"),
            ("gone.npy", "no such file"),
        )
    ],
    (["explain", "file="], "file= is empty"),
    (["explain", "text=hello"], ("nothing is trained for this config yet", "nlae reinforce")),
    (["explain", "text=hello", "stride=0"], "stride=0 must be at least 1"),
    (["explain", "text=hello", "stride=some"], "stride=some: expected a whole number"),
    (["explain", "text=hello", "samples=-5"], "samples=-5 must be at least 1"),
    (["browse", "port=70000"], "port=70000"),
    (["browse", "file={in}/nothing here"], "nothing here"),
    (["dictionary", "query="], "query= is empty"),
    (["export", "format=pdf"], "choose one of reference"),
    # checkpoints, models, places
    (["evaluate", "checkpoint={in}/nothing"], "no nla_meta.yaml there"),
    (["evaluate", "checkpoint={in}/half pair"], "half pair"),
    (["evaluate", "checkpoint={in}/list pair"], "list pair"),
    (["evaluate", "checkpoint={in}/one.txt"], "one.txt"),
    (["evaluate", "checkpoint={in}/" + "x" * 300], "no nla_meta.yaml there"),
    (["corpus", "target=hub", "target.model={in}/model"], ("model: cannot be loaded", "check the name")),
    (["corpus", "target=hub", "target.model={in}/gone"], "no such folder"),
    (["corpus", "target=qwen2_5_0_5b"], "check the name, the network"),
    (["corpus", "target.family=lama"], "choose one of"),
    (["corpus", "target.width=65"], "is not a multiple of target.heads"),
    (["dictionary", "dictionary.directions={in}/gone"], "dictionary.directions"),
    (["dictionary", "dictionary.directions={in}/one.txt"], "give a SAELens folder or a safetensors file"),
    (["export", "format=delphi"], "choose one of reference, neuronpedia"),
    (["corpus", "paths.artifacts=/dev/null/here"], "/dev/null/here cannot be made"),
    (["corpus", "paths.artifacts={in}/one.txt"], "one.txt cannot be made"),
    (["describe", "teacher=openai", "teacher.base_url=ftp://x"], "is no http(s) address"),
    (["describe", "teacher.tail=quoted"], "use one of verbatim"),
]
