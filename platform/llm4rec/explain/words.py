"""The closed list of words that claim nothing about an item beyond its grounds.

Function words, words of recommending, and the words that passages are built with. Every other word of a generated
reason must come from the grounds, so that a plot, a director, a prize or a mood that the model made up is caught
even where it is neither capitalised nor a number. Adding a word here lets every reason use it without support.
"""


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


NEUTRAL = _words(
    """
    a an the this that these those it its it's is are was be been being am and or but nor so yet if then than as at by
    for from in into of off on onto out over to up with without within about among between both either each every all
    any some more most much many other others another such same own very quite really also too just only even still
    not no i you your you're you've you'll yours they them their theirs he she we us our who whom whose which what
    where when while because since though although however therefore thus hence here there again well
    can could may might must shall should will would do does did have has had having let lets
    like likes liked liking love loves loved enjoy enjoys enjoyed enjoying watch watched watching see seen saw find
    finds found try trying consider choose chosen pick picked give gave given want wanted think know
    recommend recommended recommendation suggest suggested suggestion reason
    good great nice fine fit fits match matches choice option bet worth look interest interested interesting appeal
    appeals suit suits right next similar similarly alike close closer related resembles resemble way ways lot bit kind
    sort type taste tastes share shares shared sharing common combine combines mix blend element elements
    film films movie movies title titles item items genre genres category categories filed under
    people person viewer viewers fan fans user users watcher watchers audience audiences one ones
    popular rated rating ratings average who've that's there's if you'd
    """
)

SHARING = _words("share shares shared sharing both common same alike")
POPULARITY = _words("popular rated rating ratings average")
PEOPLE = _words("people viewers fans users others watchers audiences")

NUMBER_WORDS = _words(
    """
    zero two three four five six seven eight nine ten eleven twelve dozen dozens twenty thirty forty fifty hundred
    hundreds thousand thousands million millions first second third
    """
)
