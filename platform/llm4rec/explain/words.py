"""The closed list of words that claim nothing about an item beyond its grounds.

Function words, words of recommending, and the words that passages are built with. Every other word of a generated
reason must come from the grounds, so that a plot, a director, a prize or a mood that the model made up is caught
even where it is neither capitalised nor a number. Adding a word here lets every reason use it without support.
"""


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


NEUTRAL = _words(
    """
    a an the this that these those it its it's is are was be been being am and or but so yet if then as at by for from
    in into of off on onto out over to up with within about among between all any some other others such same
    own also too just even still you you're you've you'll you'd they them their theirs who who've whom whose which what
    where when while because since though although however therefore thus hence here there there's that's again
    can could may might must shall should will would have has had having let lets
    like likes liked liking love loves enjoy enjoys enjoyed enjoying watch watched watching see seen saw find
    finds found try trying consider choose chosen pick picked give gave given already recently
    recommend recommended recommendation suggest suggested suggestion reason
    good great nice fine fit fits match matches choice option bet worth look interest interested interesting appeal
    appeals suit suits right next similar similarly alike close closer related resembles resemble way ways kind
    sort type share shares shared sharing both common combine combines mix blend element elements
    film films movie movies title titles item items genre genres category categories filed under
    people person viewer viewers fan fans user users watcher watchers audience audiences one ones
    rated rating ratings average
    """
)
"""Among them is no word that denies, compares or counts: what they make of a true sentence may be false."""

SHARING = _words("share shares shared sharing both common same alike")
POPULARITY = _words("rated rating ratings average")
PEOPLE = _words(
    "people person viewer viewers fan fans user users others watcher watchers audience audiences who who've whom whose"
)
DEEDS = _words(
    """
    like likes liked liking love loves loved loving enjoy enjoys enjoyed enjoying watch watches watched watching see
    sees seen saw seeing find finds found finding try tried trying choose chosen pick picked give gave given rated
    recommend recommended suggest suggested
    """
)
GERUNDS = _words("liking loving enjoying watching seeing finding trying")
PAST = _words("liked loved enjoyed watched seen saw found picked chosen tried gave recommended suggested")
TRY = _words("try consider choose pick see watch enjoy find recommend suggest")
DONE = _words("liked enjoyed")
"""What may be said of history items besides the log's own verb; no more is known than that they were not disliked."""
MODALS = _words("may might can could shall should will would must")
ADVERBS = _words("also already recently just even still both again too")
TO_YOU = _words("for to suit suits interest let lets fit fits")
"""Words after which "you" is who something is for."""

NUMBER_WORDS = _words(
    """
    zero two three four five six seven eight nine ten eleven twelve dozen dozens twenty thirty forty fifty hundred
    hundreds thousand thousands million millions first second third
    """
)
