"""The HTTP contract: requests, strict and bounded, and responses (DESIGN section 8 in types)."""

import unicodedata
from typing import Annotated, Literal
from urllib.parse import unquote

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

MAX_ID = 256
MAX_EVENTS = 1000
MAX_HISTORY = 1000
MAX_TURNS = 20
YEAR_2100 = 4_102_444_800


def _printable(text: str) -> str:
    if any(unicodedata.category(char) == "Cc" for char in text):
        raise ValueError("must not hold control characters")
    return text


Id = Annotated[str, Field(min_length=1, max_length=MAX_ID), AfterValidator(_printable)]
PathId = Annotated[Id, BeforeValidator(unquote)]  # paths keep their percent-encoding up to here: see paths.py
Line = Annotated[str, Field(min_length=1, max_length=500), AfterValidator(_printable)]
Text = Annotated[str, Field(max_length=20_000)]
Timestamp = Annotated[int, Field(ge=0, le=YEAR_2100, description="Seconds since 1970.")]
Fraction = Annotated[float, Field(ge=0, le=1)]
Event = Literal["click", "like", "dislike", "view", "purchase", "rate", "skip"]
ReasonSource = Literal["llm", "template"]


class Request(BaseModel):
    """Base of request bodies: JSON types as they are, nothing unknown, no NaN."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class Response(BaseModel):
    """Base of responses."""

    model_config = ConfigDict(frozen=True)


class HistoryEntry(Request):
    """One item of a history sent along, oldest first."""

    item_id: Id
    timestamp: Timestamp | None = None
    value: float | None = None
    event: Event | None = None


Categories = Annotated[list[Line], Field(min_length=1, max_length=50)]


class Filters(Request):
    """What every item of the slate must satisfy."""

    categories: Categories | None = Field(None, description="At least one of these.")
    all_categories: Categories | None = Field(None, description="All of these.")
    no_categories: Categories | None = Field(None, description="None of these.")
    year_min: int | None = Field(None, ge=0, le=9999)
    year_max: int | None = Field(None, ge=0, le=9999)
    price_min: float | None = Field(None, ge=0)
    price_max: float | None = Field(None, ge=0)

    @model_validator(mode="after")
    def _in_order(self) -> "Filters":
        if self.year_min is not None and self.year_max is not None and self.year_min > self.year_max:
            raise ValueError(f"year_min {self.year_min} is after year_max {self.year_max}")
        if self.price_min is not None and self.price_max is not None and self.price_min > self.price_max:
            raise ValueError(f"price_min {self.price_min:g} is above price_max {self.price_max:g}")
        return self


class SlateOptions(BaseModel):
    """How the slate is made; the query string of a GET, and part of a POST."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    k: int | None = Field(None, ge=1, description="Slate size; the service has a default and a largest one.")
    explain: bool = Field(False, description="Whether each item comes with a reason.")
    diversity: Fraction | None = Field(
        None, description="0: relevance alone; 1: as varied as possible; not given: recommend.diversity."
    )
    debias: Fraction | None = Field(
        None,
        description="0: popularity as learned; 1: as far as index.debias_loss allows; none: recommend.debias.",
    )


class SimilarOptions(BaseModel):
    """The query string of a search for similar items."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    k: int | None = Field(None, ge=1, description="Number of items; the service has a default and a largest one.")


class SearchOptions(BaseModel):
    """The query string of a search among users or items."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    search: Annotated[str, Field(max_length=MAX_ID), AfterValidator(_printable)] = ""
    limit: int = Field(20, ge=1, le=100)


class RecommendRequest(SlateOptions):
    """Who asks and for what: a known user, or a history, or a wish in plain words, or several of these."""

    model_config = ConfigDict(strict=True)

    user_id: Id | None = None
    history: list[Id | HistoryEntry] | None = Field(
        None, max_length=MAX_HISTORY, description="Oldest first; takes the place of the user's logged history."
    )
    query: Line | None = Field(
        None, description="What is wanted, in plain language; years, prices and categories in it become filters."
    )
    read_filters: bool = Field(True, description="Whether years, prices and categories in `query` become filters.")
    dialogue: list[Line] | None = Field(
        None, max_length=MAX_TURNS, description="What was asked before, oldest first, which `query` goes on from."
    )
    filters: Filters | None = None

    @model_validator(mode="after")
    def _someone_asks(self) -> "RecommendRequest":
        if self.user_id is None and self.history is None and self.query is None:
            raise ValueError("give at least one of user_id, history (may be empty) and query")
        if self.dialogue and self.query is None:
            raise ValueError("dialogue needs a query that goes on from it")
        return self

    @property
    def entries(self) -> list[HistoryEntry]:
        """The history sent along, every item as an entry."""
        return [HistoryEntry(item_id=item) if isinstance(item, str) else item for item in self.history or []]


class ShownFilters(Response):
    """What every item of a slate meets; what is null was not asked for."""

    categories: list[str] | None = None
    all_categories: list[str] | None = None
    no_categories: list[str] | None = None
    year_min: int | None = None
    year_max: int | None = None
    price_min: float | None = None
    price_max: float | None = None


class RecommendedItem(Response):
    """One exposure of a slate."""

    item_id: str
    title: str
    score: float
    propensity: float = Field(
        description="Probability that the logging policy chose it here, given the items above it."
    )
    reason: str | None = None
    reason_source: ReasonSource | None = None


class RecommendResponse(Response):
    """A slate, as it was written to the exposure log."""

    slate_id: str
    model_version: str
    source: Literal["llm", "template", "mixed", "none"] = Field(description="Who wrote the reasons.")
    items: list[RecommendedItem]
    notice: str = Field("", description="Why there are fewer items than asked for; empty if there are not.")
    filters: ShownFilters | None = Field(
        None, description="What every item meets: the request's filters and those its words were taken to ask for."
    )


class FeedbackEvent(Request):
    """One feedback event; sending it again with the same event_id changes nothing."""

    event_id: Id
    user_id: Id
    item_id: Id
    event: Event
    value: float | None = Field(None, description="Strength, such as the rating.")
    slate_id: Id | None = None
    timestamp: Timestamp | None = Field(None, description="Seconds since 1970; not given: the time of arrival.")

    @model_validator(mode="after")
    def _rating_has_value(self) -> "FeedbackEvent":
        if self.event == "rate" and self.value is None:
            raise ValueError("event 'rate' needs a value: the rating")
        return self


FeedbackBatch = Annotated[list[FeedbackEvent], Field(min_length=1, max_length=MAX_EVENTS)]


class Accepted(Response):
    """All events of the batch are durable; so many were new."""

    accepted: int
    duplicates: int


class ExplanationEvent(Response):
    """One step of a streamed explanation: some text, or the end with its source and evidence, or an error."""

    kind: Literal["token", "done", "error"]
    text: str = ""
    source: ReasonSource | None = None
    evidence: list[str] = []


Number = Annotated[float, Field(ge=-1e30, le=1e30)]
"""What float32, in which models compute, holds with room to spare."""


class ItemRecord(Request):
    """An item as a catalogue owner writes it."""

    title: Line
    text: Text = ""
    categories: list[Line] = Field([], max_length=100)
    numbers: dict[Id, Number] = Field({}, max_length=100)


class Item(Response):
    """An item of the catalogue; what came with the corpus is not bound by what may be put."""

    item_id: str
    title: str
    text: str = ""
    categories: list[str] = []
    numbers: dict[str, float] = {}


class ItemSummary(Response):
    """An item in a list; `score` is its similarity where the list has one."""

    item_id: str
    title: str
    categories: list[str] = []
    score: float | None = None


class ItemList(Response):
    """Items, best first."""

    items: list[ItemSummary]


class UserRecord(Request):
    """A user's attributes as their owner writes them."""

    attributes: dict[Id, Annotated[str, Field(max_length=1000)] | int | float] = Field({}, max_length=100)


class HistoryItem(Response):
    """One interaction of a user."""

    item_id: str
    title: str
    event: str
    value: float | None = None
    timestamp: int


class User(Response):
    """A user: attributes and recent history, newest first."""

    user_id: str
    attributes: dict[str, str | int | float]
    history: list[HistoryItem]


class UserSummary(Response):
    """A user in a list."""

    user_id: str
    attributes: dict[str, str | int | float]
    num_interactions: int


class UserList(Response):
    """Users whose id or attributes match a search."""

    users: list[UserSummary]


class LearnerStatus(Response):
    """How far a learner of a part of the users is, as this replica knows."""

    shard: int
    sequence: int = Field(description="Number of the last feedback that slates of this replica have learnt from.")
    behind: int = Field(description="Feedback after it, when the learner was last heard of.")
    examples: int = Field(description="Events learnt from.")
    rollbacks: int = Field(description="How often all was unlearnt since it did harm.")
    gain: float = Field(description="NDCG@10 of the last window of events less that of the model as trained.")
    heard_s: float = Field(description="Seconds since the learner was last heard of.")


class Status(Response):
    """What the service runs on."""

    model_version: str
    replica: str = Field("", description="Which process answers; several may.")
    users: int
    items: int
    feedback_events: int
    exposures: int
    learners: list[LearnerStatus] = []


class ModelStatistics(Response):
    """How slates of one model did: `rate` is the share of them of which something good was said, with its interval."""

    version: str
    users: int
    slates: int
    rate: float
    low: float
    high: float


class TrialResult(Response):
    """How much higher the candidate's rate is than the main model's, with its 95 % interval over users."""

    difference: float
    low: float
    high: float


class Models(Response):
    """Which models answer, and how they do."""

    main: str
    candidate: str | None = None
    share: float = Field(0.0, description="Of the users, who get the candidate.")
    trial: TrialResult | None = Field(None, description="None before both have had slates.")
    statistics: list[ModelStatistics]
    failed: dict[str, str] = Field({}, description="Releases that this replica could not open, and why.")


class Health(Response):
    """Whether the process answers, or is ready for requests."""

    status: Literal["ok", "ready"]


class FieldProblem(Response):
    """One field that was wrong."""

    field: str
    message: str


class Problem(Response):
    """RFC 9457 problem details."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    errors: list[FieldProblem] = []
