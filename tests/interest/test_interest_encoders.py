"""Encoders of any origin and language: found, read in halves, tuned and stored, or refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import huggingface_hub.constants as hub
import numpy as np
import pytest
import torch
from interest_world import ListedItems, batch_of, draw_requests, topic_view
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from transformers import (
    BertConfig,
    BertModel,
    BertTokenizerFast,
    PreTrainedTokenizerFast,
    RobertaConfig,
    RobertaModel,
    XLMRobertaConfig,
    XLMRobertaModel,
)

from recsys.config import InterestConfig, TuningConfig
from recsys.errors import EncoderError
from recsys.interest.activations import Activations
from recsys.interest.encoder import EncoderOptions, TextEncoder
from recsys.interest.files import find_encoder
from recsys.interest.model import TextInterestModel

CPU = torch.device("cpu")
SIZES = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
}
TOPICS = (
    "火箭月球星系卫星轨道",
    "大蒜面包厨房黄油酱汁",
    "足球守门员联赛比赛进球",
    "番茄玫瑰草坪温室果园",
)
SCRIPTS = [
    "A rocket to the moon",
    "东京发生地震火车停运",
    "東京で地震がありました",
    "زلزال في طوكيو",
    "Землетрясение в Токио",
    "भूकंप 😀",
]
HOSTILE = ["x", "\N{ZERO WIDTH SPACE}", "\x00", "word " * 5_000, "東" * 5_000, "😀" * 500]


def chinese(folder: Path) -> None:
    """BERT whose word pieces are Chinese characters."""
    characters = sorted({*"".join(TOPICS), *"东京发生地震火车停运"})
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *characters, "moon", "rocket"]
    (folder / "vocab.txt").write_text("\n".join(words) + "\n", encoding="utf-8")
    BertTokenizerFast(vocab=str(folder / "vocab.txt")).save_pretrained(folder)
    BertModel(BertConfig(vocab_size=len(words), **SIZES)).save_pretrained(folder)


def multilingual(folder: Path) -> None:
    """XLM-RoBERTa over pieces of sentences, with little room for positions."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.normalizer = normalizers.NFKC()
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    trainer = trainers.UnigramTrainer(
        vocab_size=200, special_tokens=special, unk_token="<unk>", show_progress=False
    )
    tokenizer.train_from_iterator([*SCRIPTS, *TOPICS] * 5, trainer)
    save_roberta(tokenizer, folder)
    config = XLMRobertaConfig(
        vocab_size=tokenizer.get_vocab_size(), max_position_embeddings=34, pad_token_id=1, **SIZES
    )
    XLMRobertaModel(config).save_pretrained(folder)


def bytewise(folder: Path) -> None:
    """RoBERTa over bytes."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel()
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(SCRIPTS * 5, trainer)
    save_roberta(tokenizer, folder)
    config = RobertaConfig(
        vocab_size=tokenizer.get_vocab_size(), max_position_embeddings=130, pad_token_id=1, **SIZES
    )
    RobertaModel(config).save_pretrained(folder)


def save_roberta(tokenizer: Tokenizer, folder: Path) -> None:
    ends = [(name, tokenizer.token_to_id(name)) for name in ("</s>", "<s>")]
    tokenizer.post_processor = processors.RobertaProcessing(*ends)
    names = {"bos": "<s>", "cls": "<s>", "eos": "</s>", "sep": "</s>", "pad": "<pad>"}
    tokens = {f"{name}_token": value for name, value in names.items()}
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="<unk>", mask_token="<mask>", **tokens
    )
    fast.save_pretrained(folder)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    made = {}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for make in (chinese, multilingual, bytewise):
            made[make.__name__] = tmp_path_factory.mktemp(make.__name__)
            make(made[make.__name__])
    return made


@pytest.fixture(params=["chinese", "multilingual", "bytewise"])
def folder(folders, request):
    return folders[request.param]


def encoded(folder, texts, **options):
    encoder = TextEncoder(
        folder, EncoderOptions(**{"tuned_layers": 1, "max_tokens": 64} | options), CPU
    )
    activations = Activations(encoder, texts, lambda *_: None)
    return activations, activations.encode(encoder.pretrained)


def test_every_script_and_every_length_gets_a_vector(folder):
    activations, vectors = encoded(folder, [*SCRIPTS, *HOSTILE])
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-2)
    assert activations.lengths.max() <= 64


def test_positions_of_roberta_begin_behind_the_padding_token(folders):
    activations, _ = encoded(folders["multilingual"], HOSTILE)
    assert activations.lengths.max() == 32
    activations, _ = encoded(folders["bytewise"], HOSTILE, max_tokens=512)
    assert activations.lengths.max() == 128


def chinese_items(n_items):
    rng = np.random.default_rng(5)
    rows = [list(rng.permutation(list(TOPICS[row % 4]))) for row in range(n_items)]
    return ListedItems([{"标题": "".join(row[:5]), "标签": ["".join(row[5:])]} for row in rows])


@pytest.mark.parametrize("mode", ["layers", "frozen"])
def test_a_chinese_catalogue_is_learned_with_tokens_weighed_by_attention(folders, mode, tmp_path):
    items = chinese_items(40)
    tuning = TuningConfig(mode=mode, checkpoint_s=0)
    config = InterestConfig(
        encoder=str(folders["chinese"]), pooling="attention", history=10, batch_size=32,
        device="cpu", tuning=tuning,
    )  # fmt: skip
    learner = TextInterestModel(config)
    unfitted = learner.unfitted(items)
    mean = TextInterestModel(config.model_copy(update={"pooling": "mean"})).unfitted(items)
    # Before it has learned anything, attention is the mean.
    assert np.array_equal(unfitted.bench.pretrained, mean.bench.pretrained)
    assert np.allclose(
        unfitted.bench.activations.encode(unfitted.bench.encoder.tuned), mean.bench.tuned, atol=1e-2
    )
    model = learner.fit(topic_view(items, 200, tmp_path / "run", range(40)), unfitted)
    assert model.bench.encoder.attention.weight.abs().max() > 0
    assert not unfitted.bench.encoder.attention.weight.any()
    batch = batch_of(draw_requests(40, range(40), seed=3)[0])
    scores = model.score(batch)
    topics = draw_requests(40, range(40), seed=3)[1]
    best = scores[:, 0].reshape(40, 8).argmax(axis=1)
    first = batch.versions.reshape(40, 8)[np.arange(40), best] % 4
    assert (first == topics).mean() > 0.8
    saved = tmp_path / "saved"
    saved.mkdir()
    model.save(saved)
    again = learner.load(saved, items)
    texts = [("火箭月球", "星系")]
    for one, other in zip(
        model.bench.encode(texts), again.parts.encoder.encode(texts), strict=True
    ):
        assert np.allclose(one, other, atol=2e-2)
    third = tmp_path / "third"
    third.mkdir()
    again.save(third)
    assert (third / "pooling.safetensors").read_bytes() == (
        saved / "pooling.safetensors"
    ).read_bytes()


def test_a_folder_without_a_tokenizer_is_refused(folders, tmp_path):
    for name in ("config.json", "model.safetensors"):
        shutil.copy(folders["chinese"] / name, tmp_path / name)
    with pytest.raises(EncoderError, match="tokenizer") as refused:
        TextEncoder(find_encoder(str(tmp_path)), EncoderOptions(1, 64), CPU)
    assert "\n" not in str(refused.value)


def test_a_tokenizer_of_another_encoder_is_refused(folders, tmp_path):
    shutil.copytree(folders["chinese"], tmp_path, dirs_exist_ok=True)
    for path in folders["bytewise"].glob("*token*"):
        shutil.copy(path, tmp_path / path.name)
    with pytest.raises(EncoderError, match=r"a tokenizer with .* pieces; expected at most"):
        TextEncoder(find_encoder(str(tmp_path)), EncoderOptions(1, 64), CPU)


def test_pickled_weights_are_refused_by_name(folders, tmp_path):
    shutil.copytree(folders["chinese"], tmp_path, dirs_exist_ok=True)
    (tmp_path / "model.safetensors").rename(tmp_path / "pytorch_model.bin")
    with pytest.raises(EncoderError, match=r"pickled weights only \(pytorch_model\.bin\)"):
        find_encoder(str(tmp_path))


def test_damaged_weights_are_one_line(folders, tmp_path):
    shutil.copytree(folders["chinese"], tmp_path, dirs_exist_ok=True)
    (tmp_path / "model.safetensors").write_bytes(b"\xff" * 100)
    with pytest.raises(EncoderError, match="expected a readable encoder") as refused:
        TextEncoder(find_encoder(str(tmp_path)), EncoderOptions(1, 64), CPU)
    assert "\n" not in str(refused.value)


def test_an_installed_package_with_an_encoder_inside_is_found_and_not_imported(
    folders, tmp_path, monkeypatch
):
    package = tmp_path / "my_tiny_encoder"
    shutil.copytree(folders["chinese"], package / "data" / "model")
    (package / "__init__.py").write_text("raise RuntimeError('imported')\n")
    (package / "data" / "model" / "1_Pooling").mkdir()
    (package / "data" / "model" / "1_Pooling" / "config.json").write_text("{}")
    monkeypatch.syspath_prepend(tmp_path)
    assert find_encoder("my-tiny-encoder") == package / "data" / "model"
    shutil.copytree(folders["bytewise"], package / "other")
    with pytest.raises(EncoderError, match=r"several encoders \(other, data/model\)"):
        find_encoder("my_tiny_encoder")


def test_a_name_is_taken_from_the_cache_of_the_hub(folders, tmp_path, monkeypatch):
    commit = "0123456789abcdef0123456789abcdef01234567"
    home = tmp_path / "models--me--tiny"
    shutil.copytree(folders["chinese"], home / "snapshots" / commit)
    (home / "refs").mkdir()
    (home / "refs" / "main").write_text(commit)
    monkeypatch.setattr(hub, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(hub, "HF_HUB_OFFLINE", True)
    assert find_encoder("me/tiny") == home / "snapshots" / commit
    for name in ("me/unknown", "not a name", "json"):
        with pytest.raises(EncoderError, match="not from the hub") as refused:
            find_encoder(name)
        assert "\n" not in str(refused.value)


def test_a_folder_that_says_how_it_pools_is_believed(folders, tmp_path):
    shutil.copytree(folders["chinese"], tmp_path, dirs_exist_ok=True)
    (tmp_path / "1_Pooling").mkdir()
    facts = {"pooling_mode_cls_token": True}
    (tmp_path / "1_Pooling" / "config.json").write_text(json.dumps(facts))
    _, believed = encoded(tmp_path, SCRIPTS)
    _, named = encoded(folders["chinese"], SCRIPTS, pooling="cls")
    assert np.array_equal(believed, named)


def test_fused_attention_gives_the_same_vectors_and_gradients(folders):
    found = {}
    for attention in ("eager", "sdpa"):
        options = EncoderOptions(1, 64, attention=attention)
        encoder = TextEncoder(folders["chinese"], options, CPU)
        assert encoder.model.config._attn_implementation == attention
        activations = Activations(encoder, SCRIPTS, lambda *_: None)
        encoder.tuned.requires_grad_(requires_grad=True)
        rows = np.arange(len(SCRIPTS))
        vectors = encoder.upper(*activations.hidden(rows), encoder.stack(encoder.tuned))
        vectors[:, 0].sum().backward()
        weight = next(encoder.tuned.parameters())
        found[attention] = (vectors.detach(), weight.grad / weight.grad.norm())
    for plain, fused in zip(*found.values(), strict=True):
        assert torch.allclose(plain, fused, atol=3e-2)
