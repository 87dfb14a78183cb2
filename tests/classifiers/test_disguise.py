import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from classifiers.disguise import MAX_GUESSES, Words, undisguised

TEXT = """
the of and to a in is you that it he was for on are as with his they i at be this have from or one had by word but not
what all were we when your can said there use an each which she do how their if will up other about out many then them
these so some her would make like him into time has look two more write go see number no way could people my than first
water been call who oil its now find long down day did get come made may part over such take only little work know place
year live me back give most very after thing our just name good sentence man think say great where help through much
before line right too mean old any same tell boy follow came want show also around form three small set put end does
another well large must big even because turn here why ask went men read need land different home us move try kind hand
picture again change off play spell away animal house point page mother answer found study still learn should world high
every near add food between own below country plant last school father keep tree never start city earth light thought
head under story left few while along might close something seem next hard open begin life always those both paper
together got group often run women woman dog cold cup tool girl zoo cool kill hate stupid
"""
COMMON = TEXT.split()
WORDS = Words(COMMON)


class Counted(Words):
    """Counts the words looked up."""

    lookups = 0

    def __contains__(self, word: str) -> bool:
        self.lookups += 1
        return super().__contains__(word)

    def rank(self, word: str) -> int:
        self.lookups += 1
        return super().rank(word)


# --- the list of words


def test_a_word_is_known_in_any_case() -> None:
    words = Words(["the", "Kenya"])
    assert "THE" in words
    assert "kenya" in words
    assert "nairobi" not in words


def test_the_rank_of_a_word_is_how_many_are_commoner() -> None:
    words = Words(["the", "of", "kill"])
    assert [words.rank(w) for w in ("the", "OF", "Kill")] == [0, 1, 2]


def test_the_rank_of_an_unlisted_word_is_the_length_of_the_list() -> None:
    assert Words(["the", "of", "kill"]).rank("exterminate") == 3


def test_a_word_listed_twice_keeps_its_first_rank_and_counts_once() -> None:
    words = Words(["the", "of", "The", "kill"])
    assert words.rank("the") == 0
    assert words.rank("kill") == 2
    assert words.rank("exterminate") == 3


def test_a_vocabulary_gives_the_whole_words_that_follow_a_space_in_the_order_of_their_numbers() -> None:
    vocabulary = {"Ġkill": 9, "Ġthe": 5, "kill": 2, "ing": 3, "ĠYou": 7, "Ġ2024": 4, "Ġ!": 6, "Ġdon't": 1, "Ġ": 0}
    words = Words.of_vocabulary(vocabulary)
    assert [words.rank(w) for w in ("the", "you", "kill")] == [0, 1, 2]
    for absent in ("ing", "2024", "!", "don't", ""):
        assert absent not in words


def test_of_the_single_letters_of_a_vocabulary_only_a_and_i_are_words() -> None:
    letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
    words = Words.of_vocabulary({f"Ġ{c}": i for i, c in enumerate(letters)})
    assert {c for c in letters if c in words} == set("aAiI")


@pytest.mark.parametrize(
    ("letters", "parts"),
    [
        ("iwanttokill", ["i", "want", "to", "kill"]),
        ("IWantToKill", ["I", "Want", "To", "Kill"]),
        ("kill", ["kill"]),
        ("another", ["another"]),
        ("", []),
    ],
)
def test_letters_without_spaces_are_split_into_the_likeliest_words(letters: str, parts: list[str]) -> None:
    assert WORDS.split(letters) == parts


def test_of_two_ways_to_split_the_one_with_the_commoner_words_is_taken() -> None:
    rest = [f"{c}{d}" for c in "bcdfgh" for d in "bcdfgh"]
    assert Words(["in", "today", *rest, "into", "day"]).split("intoday") == ["in", "today"]
    assert Words(["into", "day", *rest, "in", "today"]).split("intoday") == ["into", "day"]


def test_a_listed_word_is_found_behind_letters_that_are_no_word() -> None:
    assert WORDS.split("xyzqqkill")[-1] == "kill"


@given(st.text(alphabet="abiklotu", max_size=60))
def test_splitting_loses_no_letter(letters: str) -> None:
    assert "".join(WORDS.split(letters)) == letters


def test_an_empty_list_splits_without_an_error() -> None:
    assert "".join(Words([]).split("kill")) == "kill"


@pytest.mark.parametrize("text", ["k i l l", "k1ll", "k.ill", "kiiill", "K I L L  Y O U", "кill"])
def test_an_empty_list_of_words_is_no_error(text: str) -> None:
    assert undisguised(text, Words([]))


# --- what is seen through


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("ｋｉｌｌ ｙｏｕ", "kill you"),
        ("ｋｉｌｌ\u3000ｙｏｕ！", "kill you!"),
        ("ｋ１ｌｌ", "kill"),
        ("𝐤𝐢𝐥𝐥", "kill"),
        ("𝑘𝑖𝑙𝑙", "kill"),
        ("𝓴𝓲𝓵𝓵", "kill"),
        ("𝔨𝔦𝔩𝔩", "kill"),
        ("𝕜𝕚𝕝𝕝", "kill"),
        ("𝙺𝚒𝚕𝚕", "Kill"),
        ("ⓚⓘⓛⓛ", "kill"),
        ("🅚🅘🅛🅛", "KILL"),
        ("🄺🄸🄻🄻", "KILL"),
        ("🅺🅸🅻🅻", "KILL"),
    ],
)
def test_letters_in_other_shapes_are_read(text: str, seen: str) -> None:
    assert undisguised(text, WORDS) == seen


@pytest.mark.parametrize("text", ["🇰 🇮 🇱 🇱", "🇰\u200b🇮\u200b🇱\u200b🇱"])
def test_flag_letters_that_make_no_flag_are_read(text: str) -> None:
    assert undisguised(text, WORDS) == "KILL"


@pytest.mark.parametrize(
    ("text", "seen"),
    [("🅷🅰🆃🅴", "HATE"), ("🆂🆃🆄🅿🅸🅳", "STUPID"), ("🅱🅾🆈", "BOY"), ("ⓌⓄⓂⒺⓃ", "WOMEN")],
)
def test_boxed_letters_that_are_emoji_too_are_read_as_letters(text: str, seen: str) -> None:
    assert undisguised(text, WORDS) == seen


@pytest.mark.parametrize(
    "nothing",
    ["\u200b", "\u200c", "\u200d", "\u2060", "\ufeff", "\u00ad", "\u202e", "\ufe0f", "\u034f", "\U000e0061", "\ue000"],
    ids=ascii,
)
def test_characters_that_take_no_room_are_left_out(nothing: str) -> None:
    assert undisguised(f"you k{nothing}i{nothing}l{nothing}l me", WORDS) == "you kill me"


@pytest.mark.parametrize(
    "mark", ["\u0336", "\u0301", "\u0323", "\u20dd", "\u0489", "\u0300\u0316\u0336\u035c" * 5], ids=ascii
)
def test_marks_stacked_on_letters_are_left_out(mark: str) -> None:
    assert undisguised("".join(c + mark for c in "kill") + " me", WORDS) == "kill me"


def test_a_letter_that_has_its_mark_built_in_is_read_without_it() -> None:
    assert undisguised("kíll ẏöű", WORDS) == "kill you"


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("wоmеn", "women"),  # Cyrillic о, е
        ("kіll уоu", "kill you"),  # Cyrillic і, у, о
        ("ѕtuріd", "stupid"),  # Cyrillic ѕ, р, і
        ("кill", "kill"),  # Cyrillic к, which the table of look-alikes lacks
        ("stuрiд", "stuрiд"),  # a letter that looks like no Latin one
        ("haтe", "hate"),  # Cyrillic т
        ("НАТЕ", "HATE"),  # wholly Cyrillic, and every letter looks Latin
        ("yοu", "you"),  # Greek omicron
        ("kιll", "kill"),  # Greek iota
        ("αll", "all"),  # Greek alpha
        ("Κill", "Kill"),  # Greek Kappa
        ("ᏦᎥll", "Kill"),  # Cherokee
        ("ɑll", "all"),  # Latin alpha
        ("hа7е", "hate"),  # Cyrillic and leetspeak
    ],
)
def test_look_alike_letters_from_other_scripts_are_read(text: str, seen: str) -> None:
    assert undisguised(text, WORDS) == seen


def test_a_small_greek_kappa_among_latin_letters_is_read_as_k() -> None:
    assert undisguised("κill", WORDS) == "kill"


@pytest.mark.parametrize(("text", "seen"), [("І hate you", "I hate you"), ("КІLL", "KILL")])
def test_the_capital_i_of_other_scripts_is_no_l(text: str, seen: str) -> None:
    assert undisguised(text, WORDS) == seen


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("y0u", "you"),
        ("k1ll", "kill"),
        ("l1ke", "like"),
        ("ki1l", "kill"),
        ("k111", "kill"),
        ("2oo", "zoo"),
        ("h3r3", "here"),
        ("h4te", "hate"),
        ("5tup1d", "stupid"),
        ("6irl", "girl"),
        ("ha7e", "hate"),
        ("8oy", "boy"),
        ("9irl", "girl"),
        ("h@te", "hate"),
        ("$tup!d", "stupid"),
        ("k!ll", "kill"),
        ("k|ll", "kill"),
        ("ki||", "kill"),
        ("k!1|", "kill"),
        ("ha+e", "hate"),
        ("su(h", "such"),
        ("hat\N{EURO SIGN}", "hate"),
        ("ki\N{POUND SIGN}\N{POUND SIGN}", "kill"),
        ("STUP1D", "STUPiD"),
        ("k1ll, then h4te.", "kill, then hate."),
    ],
)
def test_figures_and_signs_in_a_word_are_read_as_letters(text: str, seen: str) -> None:
    assert undisguised(text, WORDS) == seen


def test_of_two_readings_of_a_figure_the_commoner_word_is_taken() -> None:
    assert undisguised("a1l fa1l", Words(["all", "ail", "fail", "fall"])) == "all fail"
    assert undisguised("a1l fa1l", Words(["ail", "all", "fall", "fail"])) == "ail fall"


def test_a_leet_word_with_repeated_letters_is_read() -> None:
    assert undisguised("k1lllll", WORDS) == "kill"
    assert undisguised("h444te", WORDS) == "hate"


def test_an_unlisted_word_with_figures_between_its_letters_is_read_too() -> None:
    assert undisguised("3xt3rm1n4t3", WORDS) == "exterminate"


def test_a_figure_that_stands_alone_is_a_letter_only_where_the_text_is_written_in_leetspeak() -> None:
    assert undisguised("1 h4t3 y0u", WORDS) == "i hate you"
    assert undisguised("4 women h4te me", WORDS) == "4 women hate me"
    few = "k1ll and h4te for the 4 women and the 2 men of my house"
    assert undisguised(few, WORDS) == few.replace("k1ll", "kill").replace("h4te", "hate")
    assert undisguised("there are 4 women who h4te the 1 boy", WORDS) == "there are 4 women who hate the 1 boy"


@pytest.mark.parametrize(
    ("text", "seen"), [("k1ll!", "kill!"), ("wom3n!", "women!"), ("n3v3r!!!", "never!!!"), ("h4te+", "hate+")]
)
def test_the_signs_that_end_a_leet_word_are_kept_as_signs(text: str, seen: str) -> None:
    assert undisguised(text, WORDS) == seen


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("k i l l", "kill"),
        ("I want to k i l l you", "I want to kill you"),
        ("k i l l   y o u", "kill you"),
        ("k.i.l.l", "kill"),
        ("k-i-l-l", "kill"),
        ("k_i_l_l", "kill"),
        ("k*i*l*l", "kill"),
        ("k~i~l~l", "kill"),
        ("k|i|l|l", "kill"),
        ("k/i/l/l", "kill"),
        ("k\\i\\l\\l", "kill"),
        ("k, i, l, l", "kill"),
        ("k..i..l..l", "kill"),
        ("k\ni\nl\nl", "kill"),
        ("(k i l l)", "(kill)"),
        ("k i 1 1", "kill"),
        ("k і l l", "kill"),  # Cyrillic і
        ("i w a n t t o k i l l", "i want to kill"),
        ("e x t e r m i n a t e", "exterminate"),
    ],
)
def test_spaced_letters_are_joined(text: str, seen: str) -> None:
    assert undisguised(text, WORDS) == seen


@pytest.mark.parametrize(("text", "seen"), [("s.o m.e", "so me"), ("i.n.t.o d.a.y", "into day")])
def test_a_space_between_dotted_words_parts_them(text: str, seen: str) -> None:
    assert undisguised(text, Words([*COMMON, "some", "today"])) == seen


@pytest.mark.parametrize("text", ["k.ill", "ki.ll", "ki*ll", "ki_ll", "ki~ll", "ki|ll", "ki-ll", "k.i.ll"])
def test_a_word_that_was_cut_is_joined(text: str) -> None:
    assert undisguised(f"I want to {text} you", WORDS) == "I want to kill you"


def test_two_words_with_a_hyphen_are_joined_only_into_a_commoner_word() -> None:
    assert undisguised("on-line", Words(["on", "line", "online"])) == "on-line"
    assert undisguised("st-upid", Words(["st", "stupid", "upid"])) == "stupid"


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("kiiiill", "kill"),
        ("killlll", "kill"),
        ("kkkkiiiilllll", "kill"),
        ("I haaaate yooooou", "I hate you"),
        ("stuuuupid women", "stupid women"),
        ("seeeee", "see"),
        ("goooood", "good"),
        ("STUUUPID", "STUPID"),
        ("extermiiiinate", "exterminate"),
    ],
)
def test_repeated_letters_are_taken_out(text: str, seen: str) -> None:
    assert undisguised(text, WORDS) == seen


def test_of_one_letter_and_two_the_commoner_word_is_taken() -> None:
    assert undisguised("tooooo", Words(["to", "too"])) == "to"
    assert undisguised("tooooo", Words(["too", "to"])) == "too"


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("kIlL yOu AlL", "kill you all"),
        ("sTuPiD", "stupid"),
        ("sTuPiD wOmEn and Kenya", "stupid women and Kenya"),
    ],
)
def test_alternating_case_is_lowered(text: str, seen: str) -> None:
    assert undisguised(text, WORDS) == seen


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("I 🔫 you", ["I", "water", "pistol", "you"]),
        ("you🔫me", ["you", "water", "pistol", "me"]),
        ("🐷", ["pig", "face"]),
        ("🤟", ["love", "you", "gesture"]),
        ("k1ll 🐷", ["kill", "pig", "face"]),
    ],
)
def test_emoji_are_named_apart_from_the_words_beside_them(text: str, seen: list[str]) -> None:
    assert undisguised(text, WORDS).split() == seen


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("ｋ.ｉ.ｌ.ｌ", "kill"),
        ("𝐤1𝐥𝐥 y0u", "kill you"),
        ("k\u200b1\u200bl\u200bl", "kill"),
        ("ѕ t u р i d", "stupid"),
        ("k\u0336iiii\u0336ll", "kill"),
    ],
)
def test_disguises_on_top_of_one_another_are_seen_through(text: str, seen: str) -> None:
    assert undisguised(text, WORDS) == seen


# --- what stays as it is


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "I want to kill you.",
        "come at 4pm or at 10am",
        "the 1st, the 2nd, the 3rd and the 11th",
        "an mp3, a b12 and a win32",
        "b2b and h2o",
        "the 1s and the 0s, in a4",
        "it is $5, not $1,000.50, and 20% off",
        "it is £5 or €20",
        "call 555-0123 or +1 (555) 123-4567",
        "call 5 5 5 0 1 2 3",
        "1. open the page\n2. read it\n3. close it",
        "1) put it in 2) turn it",
        "2 + 2 = 4",
        "I have 3 women and 20 men!",
        "in the 1990s, on 2024-05-01 at 10:30",
        "I am 5ft 10in tall",
        "4x4 at 1080p, 10k on x86",
        "my iPhone is here",
        "an iPhone and an iPad",
        "JavaScript and TypeScript",
        "well-known, state-of-the-art, in-to",
        "e.g. this one, i.e. that one",
        "“You,” she said — no; why?",
        "Why?! What... don't, I'll",
        "see one  two\n\tthree ",
        "a very good (and old) house",
        "see, too, all",
        "good book, cool food, small hill",
        "snake_case",
        "end.Then",
    ],
)
def test_plain_text_stays_character_for_character(text: str) -> None:
    assert undisguised(text, WORDS) == text


@pytest.mark.parametrize("text", ["me too!", "that is all!", "we will!", "do not kill!", "It is cool!!!", "a tool!"])
def test_a_plain_word_keeps_its_exclamation_marks(text: str) -> None:
    assert undisguised(text, WORDS) == text


@pytest.mark.parametrize("text", ["we (all) try", "this (old) house", "take it (up to here)", "some (an animal) run"])
def test_a_bracket_before_a_plain_word_is_no_letter(text: str) -> None:
    assert undisguised(text, WORDS) == text


@pytest.mark.parametrize("text", ["it's 5 o'clock", "it's 3 o'clock, she said"])
def test_the_letter_after_an_apostrophe_is_not_spaced(text: str) -> None:
    assert undisguised(text, WORDS) == text


@pytest.mark.parametrize("text", ["Well… I see", "good… old"])
def test_an_ellipsis_is_no_disguise(text: str) -> None:
    assert undisguised(text, WORDS) == text


@pytest.mark.parametrize(
    "text",
    [
        "Я хочу жить",
        "Привет, мир! Что это?",
        "жизнь хорошая, 4 года",
        "you say привет to me",
        "日本語",
    ],
)
def test_words_truly_in_another_script_stay(text: str) -> None:
    assert undisguised(text, WORDS) == text


@pytest.mark.parametrize("text", ["мой дом", "ёж ждёт", "Καλημέρα", "ζωή", "हिन्दी", "한국어"])
def test_words_truly_in_another_script_keep_their_marks(text: str) -> None:
    assert undisguised(text, WORDS) == text


# --- laws

ODD = "aAbkKiIlLtT014579@$!|+(€£. \n_-*~/\\,'кіоєйέκ\u200b\u0336ｋ𝐤🅺🇰🔫ﬁß"


@given(st.text())
@example("\ud83d kill")
@example("İ İ İ İ")
@example("ŉ" * 5)
def test_any_text_is_read_without_an_error(text: str) -> None:
    assert isinstance(undisguised(text, WORDS), str)


@given(st.text(alphabet=ODD, max_size=80))
def test_any_mixture_of_disguises_is_read_without_an_error(text: str) -> None:
    assert isinstance(undisguised(text, WORDS), str)


plain_words = st.sampled_from([word for word in COMMON if len(word) > 1])


@given(st.lists(plain_words, max_size=12))
def test_plain_words_with_spaces_are_the_very_same_text(chosen: list[str]) -> None:
    text = " ".join(chosen)
    assert undisguised(text, WORDS) == text


@given(st.lists(st.tuples(plain_words, st.sampled_from(["", ".", ",", ";", ":", "?", "...", " -"])), max_size=12))
def test_plain_words_with_punctuation_are_the_very_same_text(chosen: list[tuple[str, str]]) -> None:
    text = " ".join(word.capitalize() + end for word, end in chosen)
    assert undisguised(text, WORDS) == text


@given(st.text(alphabet=" \t\n\u3000\u00a0", max_size=20))
def test_white_space_alone_is_the_very_same_text(text: str) -> None:
    assert undisguised(text, WORDS) == text


@given(st.lists(st.integers(0, 10**9), max_size=10), st.sampled_from([" ", ", ", "-", ".", "/", "\n"]))
def test_figures_alone_are_the_very_same_text(figures: list[int], between: str) -> None:
    text = between.join(map(str, figures))
    assert undisguised(text, WORDS) == text


# --- bounded work


@pytest.mark.parametrize("character", ["1", "!", "|"])
def test_the_readings_of_one_word_are_bounded_however_many_figures_it_has(character: str) -> None:
    words = Counted(COMMON)
    undisguised("k" + character * 16, words)
    assert words.lookups <= 100 * MAX_GUESSES


def test_all_readings_are_tried_up_to_the_bound() -> None:
    figures = MAX_GUESSES.bit_length() - 1  # each doubles the readings
    rarest = "z" + ("li" * figures)[:figures]
    assert undisguised("z" + "1" * figures, Words([rarest])) == rarest


def test_the_readings_of_repeated_letters_are_bounded() -> None:
    words = Counted(COMMON)
    undisguised("".join(c * 3 for c in "abcdefghijklmnop"), words)
    assert words.lookups <= 100 * MAX_GUESSES


@pytest.mark.parametrize(
    "text",
    [
        "1" * 20_000,
        "!" * 20_000,
        "k" + "!" * 20_000,
        "(" * 20_000,
        "." * 20_000,
        " " * 20_000,
        "1 " * 10_000,
        "a1b " * 5_000,
        "k" + "\u0336" * 20_000,
        "\u200b" * 20_000,
        "🔫" * 2_000,
        "a." * 2_500,
        "k i l l " * 600,
        "a" * 5_000,
        "ab" * 2_500,
        "aaab" * 1_000,
        "a1" * 2_500,
        "aB" * 2_500,
        "о" * 5_000,
    ],
    ids=lambda text: ascii(text[:8]),
)
def test_long_odd_texts_are_read_to_the_end(text: str) -> None:
    assert undisguised(f"{text} , k1ll", WORDS).endswith("kill")


def test_a_short_word_between_known_ends_is_one_word_whether_or_not_it_is_listed() -> None:
    words = Words(["say", "things", "vi", "le"])
    assert undisguised("s.a.y v.i.l.e t.h.i.n.g.s", words) == "say vile things"
    assert undisguised("s.a.y.t.h.i.n.g.s", words) == "say things"
