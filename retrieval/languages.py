"""Languages by their English names and by the codes that translation models use."""

_TABLE = """
afrikaans af afr; albanian sq sqi; amharic am amh; arabic ar ara arb; armenian hy hye; azerbaijani az aze azj;
basque eu eus; belarusian be bel; bengali bn ben; bosnian bs bos; bulgarian bg bul; burmese my mya; catalan ca cat;
chinese zh zho cmn; croatian hr hrv; czech cs ces; danish da dan; dutch nl nld; english en eng; esperanto eo epo;
estonian et est ekk; finnish fi fin; french fr fra; galician gl glg; georgian ka kat; german de deu; greek el ell;
gujarati gu guj; hausa ha hau; hebrew he heb; hindi hi hin; hungarian hu hun; icelandic is isl; igbo ig ibo;
indonesian id ind; irish ga gle; italian it ita; japanese ja jpn; kannada kn kan; kazakh kk kaz; khmer km khm;
korean ko kor; lao lo lao; latin la lat; latvian lv lav lvs; lithuanian lt lit; macedonian mk mkd; malay ms msa zsm;
malayalam ml mal; maltese mt mlt; marathi mr mar; mongolian mn mon khk; nepali ne nep npi; norwegian no nor nb nob;
pashto ps pus pbt; persian fa fas pes; polish pl pol; portuguese pt por; punjabi pa pan; romanian ro ron; russian ru rus;
serbian sr srp; sinhala si sin; slovak sk slk; slovenian sl slv; somali so som; spanish es spa; swahili sw swa swh;
swedish sv swe; tagalog tl tgl; tamil ta tam; telugu te tel; thai th tha; turkish tr tur; ukrainian uk ukr; urdu ur urd;
uzbek uz uzb uzn; vietnamese vi vie; welsh cy cym; xhosa xh xho; yoruba yo yor; zulu zu zul
"""

_CODES = {name: codes for name, *codes in (entry.split() for entry in _TABLE.split(";"))}

NAMES = tuple(_CODES)
"""English names in lower case."""


def is_code_of(code: str, language: str) -> bool:
    """Whether a model's code ("fr", "fra", "fr_XX", "fra_Latn", "fr-FR") stands for the language of an English name in
    lower case. A script or region in the code is not looked at.
    """
    return code.replace("-", "_").split("_")[0].lower() in _CODES.get(language, ())
