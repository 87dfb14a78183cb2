"""What asks for a translation, and that the model asked is the one that answers, for the pairs of languages that it does.

The models are transformers' own classes with random weights: what they say is nonsense, but always the same.
"""

import json
import warnings
from concurrent.futures import ThreadPoolExecutor

import pytest
import sentencepiece
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import (
    AutoModelForSeq2SeqLM,
    AutoTokenizer,
    LlamaConfig,
    M2M100Config,
    M2M100ForConditionalGeneration,
    M2M100Tokenizer,
    MarianConfig,
    MarianMTModel,
    MarianTokenizer,
    NllbTokenizer,
)

from retrieval.translator import Translator, Wish, wish

WISHES = [
    ("hello in French", "hello", "french", "english"),
    ("good morning in Spanish", "good morning", "spanish", "english"),
    ("'hello' to German", "hello", "german", "english"),
    ("translate 'good morning' to Spanish", "good morning", "spanish", "english"),
    ('Please translate "I am tired." into Italian.', "I am tired.", "italian", "english"),
    ("translate the word bread to Polish", "bread", "polish", "english"),
    ("translate to French: it's five o'clock", "it's five o'clock", "french", "english"),
    ("translate 'guten Tag' from German to English", "guten Tag", "english", "german"),
    ("Translate from German to French: Brot", "Brot", "french", "german"),
    ("How do you say 'thank you' in Japanese?", "thank you", "japanese", "english"),
    ("how do you say where is the station in Dutch?", "where is the station", "dutch", "english"),
    ("what does 'guten Tag' mean", "guten Tag", "english", None),
    ("What does the German word Brot mean in English?", "Brot", "english", "german"),
    ("What does “ça va” mean?", "ça va", "english", None),
    ("what's 'good night' in Turkish?", "good night", "turkish", "english"),
    ("What is the Welsh word for bread?", "bread", "welsh", "english"),
    ("hola in English", "hola", "english", None),
    ("'don't go' in French", "don't go", "french", "english"),
]


@pytest.mark.parametrize(("text", "said", "target", "source"), WISHES)
def test_a_string_that_asks_for_a_translation_says_what_into_what(text, said, target, source):
    assert wish(text) == Wish(said, target, source)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "hello",
        "hello in Klingon",
        "What is the capital of France?",
        "What is spoken in French Guiana?",
        "Is the film in French?",
        "They speak it in German",
        "How many people speak French?",
        "What is the best cafe in French?",
        "translate",
        "translate to French:",
        "'...' in French",
        "what does it do in German cars",
        "'" + "a" * 600 + "' in French",
        "translate " * 100_000,
        "'" * 400,
    ],
)
def test_a_string_that_asks_for_none_gives_none(text):
    assert wish(text) is None


WORDS = ("translate", "'a'", "to", "in", "French", "what", "does", "mean", "is", "the", ":", "?")


@given(st.text(max_size=60) | st.lists(st.sampled_from(WORDS)).map(" ".join))
def test_any_string_is_read_without_an_error(text):
    found = wish(text)
    assert found is None or found.text in text


SENTENCES = ["hello world", "good morning", "guten Tag", "bonjour le monde", "thank you", "bread and water"] * 5
SMALL = {"d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2}
SMALL |= {"decoder_attention_heads": 2, "encoder_ffn_dim": 16, "decoder_ffn_dim": 16, "init_std": 1.0}


@pytest.fixture(scope="module")
def pieces(tmp_path_factory):
    """A SentencePiece model of a few sentences."""
    folder = tmp_path_factory.mktemp("pieces")
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(SENTENCES),
        model_prefix=str(folder / "spm"),
        vocab_size=40,
        hard_vocab_limit=False,
        minloglevel=2,
    )
    return folder / "spm.model"


def vocabulary(pieces, extra):
    made = sentencepiece.SentencePieceProcessor(model_file=str(pieces))
    words = [*extra, *(made.id_to_piece(n) for n in range(3, made.get_piece_size()))]
    return {word: number for number, word in enumerate(words)}


def seeded(make):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return make().eval()


@pytest.fixture(scope="module")
def marian(pieces, tmp_path_factory):
    """marian(source, target, codes): the folder of a tiny Marian model whose tokenizer names these languages."""

    def make(source="en", target="de", codes=()):
        folder = tmp_path_factory.mktemp("marian")
        words = vocabulary(pieces, ["</s>", "<unk>", *codes])
        words["<pad>"] = len(words)
        (folder / "words.json").write_text(json.dumps(words))
        files = {"source_spm": str(pieces), "target_spm": str(pieces), "vocab": str(folder / "words.json")}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            tokenizer = MarianTokenizer(**files, source_lang=source, target_lang=target)
        tokenizer.save_pretrained(folder)
        ends = {"eos_token_id": 0, "forced_eos_token_id": 0, "pad_token_id": words["<pad>"]}
        config = MarianConfig(vocab_size=len(words), decoder_start_token_id=words["<pad>"], **ends, **SMALL)
        seeded(lambda: MarianMTModel(config)).save_pretrained(folder)
        return folder

    return make


@pytest.fixture(scope="module")
def m2m(pieces, tmp_path_factory):
    """The folder of a tiny M2M-100 model."""
    folder = tmp_path_factory.mktemp("m2m")
    words = vocabulary(pieces, ["<s>", "<pad>", "</s>", "<unk>"])
    (folder / "words.json").write_text(json.dumps(words))
    tokenizer = M2M100Tokenizer(vocab_file=str(folder / "words.json"), spm_file=str(pieces))
    tokenizer.save_pretrained(folder)
    config = M2M100Config(vocab_size=len(words) + len(tokenizer.lang_code_to_id) + 8, **SMALL)
    seeded(lambda: M2M100ForConditionalGeneration(config)).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def nllb(pieces, tmp_path_factory):
    """The folder of a tiny NLLB model: M2M-100's network under a tokenizer with other codes."""
    folder = tmp_path_factory.mktemp("nllb")
    letters = [*sorted(set("".join(SENTENCES)) - {" "}), "▁"]
    words = {word: number for number, word in enumerate(["<s>", "<pad>", "</s>", "<unk>", *letters])}
    tokenizer = NllbTokenizer(vocab=words, merges=[])
    tokenizer.save_pretrained(folder)
    config = M2M100Config(vocab_size=len(tokenizer), **SMALL)
    model = seeded(lambda: M2M100ForConditionalGeneration(config))
    with torch.no_grad():  # most of the vocabulary are codes, which would be all that it says
        model.model.shared.weight[:4] *= 0.1
        model.model.shared.weight[len(words) :] *= 0.1
    model.save_pretrained(folder)
    return folder


def by_hand(folder, text, first=None, source=None):
    """What the saved model says to a text, asked without the translator."""
    tokenizer = AutoTokenizer.from_pretrained(folder, **({"src_lang": source} if source else {}))
    model = AutoModelForSeq2SeqLM.from_pretrained(folder)
    tokens = tokenizer(text, return_tensors="pt")
    extra = {} if first is None else {"forced_bos_token_id": tokenizer.convert_tokens_to_ids(first)}
    most = 2 * tokens["input_ids"].shape[1] + 20
    made = model.generate(**tokens, **extra, max_new_tokens=most, max_length=None, do_sample=False)
    return [tokenizer.decode(made[0], skip_special_tokens=True).strip()]


PLAIN = pytest.mark.filterwarnings("ignore:Recommended. pip install sacremoses")


@PLAIN
def test_a_model_of_one_pair_translates_that_pair_alone(marian):
    folder = marian()
    translator = Translator(str(folder))
    said = translator("'hello world' in German")
    assert said == by_hand(folder, "hello world") != [""]
    assert translator("'hello world' in French") == []
    assert translator("translate 'bonjour' from French to German") == []
    assert translator("what does 'guten Tag' mean") == []


@PLAIN
def test_what_does_it_mean_goes_to_a_model_into_english(marian):
    folder = marian("de", "en")
    translator = Translator(str(folder))
    assert translator("what does 'guten Tag' mean") == by_hand(folder, "guten Tag") != [""]
    assert translator("what does the Polish word 'tag' mean") == []
    assert translator("hello in German") == []


@PLAIN
def test_a_model_with_codes_before_the_text_is_given_the_code(marian):
    folder = marian("en", "roa", (">>fra<<", ">>spa<<"))
    translator = Translator(str(folder))
    french, spanish = translator("'hello world' in French"), translator("'hello world' in Spanish")
    assert french == by_hand(folder, ">>fra<< hello world") != [""]
    assert spanish == by_hand(folder, ">>spa<< hello world") != french
    assert translator("'hello world' in German") == []


def test_a_model_of_many_languages_is_told_both(m2m):
    translator = Translator(str(m2m))
    assert translator("'good morning' in French") == by_hand(m2m, "good morning", "__fr__", "en") != [""]
    german = translator("translate 'guten Tag' from German to French")
    assert german == by_hand(m2m, "guten Tag", "__fr__", "de") != [""]
    assert translator("'good morning' in Latin") == []
    assert translator("what does 'guten Tag' mean") == []


def test_codes_with_a_script_are_codes_too(nllb):
    translator = Translator(str(nllb))
    assert translator("'good morning' in French") == by_hand(nllb, "good morning", "fra_Latn", "eng_Latn") != [""]
    assert translator("'good morning' in Latin") == []


def test_a_text_longer_than_the_model_takes_is_not_translated(m2m):
    translator = Translator(str(m2m))
    assert translator(f"'{'ab ' * 150}' in French") == []


def test_the_weights_are_read_at_the_first_translation_and_once(m2m, monkeypatch):
    read = []
    load = AutoModelForSeq2SeqLM.from_pretrained
    monkeypatch.setattr(AutoModelForSeq2SeqLM, "from_pretrained", lambda *a, **k: read.append(a) or load(*a, **k))
    translator = Translator(str(m2m))
    assert translator("What is the capital of France?") == []
    assert read == []
    asked = ["'bread' in French", "'water' in German"] * 3
    with ThreadPoolExecutor(4) as threads:
        together = list(threads.map(translator, asked))
    assert together == [translator(text) for text in asked]
    assert len(read) == 1


def test_weights_that_cannot_be_read_give_nothing_and_say_so_in_the_log(m2m, tmp_path, caplog):
    for file in m2m.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes() if file.suffix != ".safetensors" else b"")
    assert Translator(str(tmp_path))("bread in French") == []
    assert str(tmp_path) in caplog.text


def test_a_model_that_is_not_there_is_refused_by_the_name_of_the_setting(tmp_path):
    with pytest.raises(ValueError, match=r"translator: no translation model .*nowhere"):
        Translator(str(tmp_path / "nowhere"))


def test_a_model_that_does_not_translate_is_refused(m2m, tmp_path):
    for file in m2m.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    LlamaConfig(num_hidden_layers=1).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="llama model, not a sequence-to-sequence"):
        Translator(str(tmp_path))


@PLAIN
def test_a_model_that_does_not_name_its_languages_is_refused(marian):
    with pytest.raises(ValueError, match="does not say which languages"):
        Translator(str(marian(None, None)))
