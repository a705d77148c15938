"""Fusion for any modalities, any missingness, any order: what hypothesis could not break."""

from dataclasses import dataclass

import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor

from llm4rec.model.config import ModelConfig
from llm4rec.model.fusion import Fusion
from llm4rec.model.items import ItemTower

FEW = settings(max_examples=40, deadline=None)
FRAMES = 3


@dataclass(frozen=True)
class Case:
    """A network and a catalogue; the modality called "mel" is a series of frames."""

    widths: dict[str, int]
    present: dict[str, Tensor]
    seed: int

    @property
    def frames(self) -> dict[str, int]:
        return {"mel": FRAMES} if "mel" in self.widths else {}

    @property
    def num_items(self) -> int:
        return len(next(iter(self.present.values())))

    @property
    def present_IM(self) -> Tensor:
        return torch.stack([self.present[name] for name in sorted(self.widths)], dim=1)

    def fusion(self, modality_dropout: float = 0.0) -> Fusion:
        torch.manual_seed(self.seed)
        return Fusion(self.widths, 8, modality_dropout, self.frames)

    def tower(self, num_warm_items: int) -> ItemTower:
        torch.manual_seed(self.seed)
        config = ModelConfig(embedding_size=6, fusion_size=8)
        return ItemTower(
            config, self.widths, self.frames, num_items=self.num_items, num_warm_items=num_warm_items
        ).eval()

    def vectors(self) -> dict[str, Tensor]:
        generator = torch.Generator().manual_seed(self.seed + 1)
        return {n: torch.randn(self.num_items, self.widths[n], generator=generator) for n in sorted(self.widths)}


@st.composite
def cases(draw: st.DrawFn) -> Case:
    names = draw(st.lists(st.sampled_from(["text", "image", "audio", "numbers", "mel"]), min_size=1, unique=True))
    widths = {name: 2 * FRAMES if name == "mel" else draw(st.integers(1, 5)) for name in names}
    num_items = draw(st.integers(1, 6))
    rows = st.lists(st.booleans(), min_size=num_items, max_size=num_items)
    return Case(widths, {name: torch.tensor(draw(rows)) for name in names}, draw(st.integers(0, 2**20)))


def garbled(case: Case, filler: float) -> dict[str, Tensor]:
    """The vectors with something else in the rows of missing modalities."""
    return {n: torch.where(case.present[n][:, None], v, filler) for n, v in case.vectors().items()}


def run(fusion: Fusion, vectors: dict[str, Tensor], present: dict[str, Tensor]) -> tuple[Tensor, ...]:
    """Output, alpha, and every gradient of a random function of the output."""
    fusion.zero_grad()
    fused, alpha = fusion(vectors, present)
    direction = torch.randn(fused.shape, generator=torch.Generator().manual_seed(9))
    (fused * direction).sum().backward()
    gradients = [torch.zeros_like(p) if p.grad is None else p.grad.clone() for p in fusion.parameters()]
    return fused.detach(), alpha.detach(), *gradients


@FEW
@given(cases(), st.sampled_from([float("nan"), float("inf"), -1e30, 7.0]))
def test_an_absent_modality_changes_neither_output_nor_gradients(case: Case, filler: float) -> None:
    fusion = case.fusion()
    for clean, dirty in zip(
        run(fusion, garbled(case, 0.0), case.present), run(fusion, garbled(case, filler), case.present), strict=True
    ):
        assert torch.isfinite(dirty).all()
        torch.testing.assert_close(dirty, clean, rtol=0, atol=0)


@FEW
@given(cases(), st.randoms())
def test_the_order_of_modalities_does_not_matter(case: Case, random: "st.random.Random") -> None:
    names = list(case.widths)
    random.shuffle(names)
    shuffled = Case({n: case.widths[n] for n in names}, {n: case.present[n] for n in reversed(case.present)}, case.seed)
    vectors = {name: case.vectors()[name] for name in names}
    for one, other in zip(
        run(case.fusion(), case.vectors(), case.present),
        run(shuffled.fusion(), vectors, shuffled.present),
        strict=True,
    ):
        torch.testing.assert_close(other, one, rtol=0, atol=0)


@FEW
@given(cases())
def test_gradients_reach_every_present_modality_and_no_absent_one(case: Case) -> None:
    fusion, vectors = case.fusion(), {n: v.requires_grad_() for n, v in case.vectors().items()}
    fused, _ = fusion(vectors, case.present)
    (fused * torch.randn(fused.shape, generator=torch.Generator().manual_seed(9))).sum().backward()
    for name in case.widths:
        grad = vectors[name].grad
        reached = torch.zeros(case.num_items, dtype=torch.bool) if grad is None else grad.abs().amax(1) > 0
        # the layer norm of one frame of two values has next to no slope; its layers tell instead
        if name != "mel":
            assert reached.tolist() == case.present[name].tolist()
        learns = [p.grad is not None and bool(p.grad.any()) for p in fusion.project[name].parameters()]
        assert all(learns) if case.present[name].any() else not any(learns)


@FEW
@given(cases())
def test_alpha_is_a_distribution_over_what_an_item_has(case: Case) -> None:
    _, alpha = case.fusion()(case.vectors(), case.present)
    assert not alpha[~case.present_IM].any() and (alpha >= 0).all()
    torch.testing.assert_close(alpha.sum(1), case.present_IM.any(1).float())


@FEW
@given(cases(), st.data())
def test_an_item_without_any_modality_gets_its_id_vector_alone(case: Case, data: st.DataObject) -> None:
    num_warm_items = data.draw(st.integers(1, case.num_items))
    tower = case.tower(num_warm_items)
    with torch.no_grad():
        vectors = tower(case.vectors(), case.present)
    bare = ~case.present_IM.any(1)
    ids = torch.nn.functional.pad(tower.id_emb.weight.detach(), (0, 0, 0, case.num_items - num_warm_items))
    torch.testing.assert_close(vectors[bare], ids[bare], rtol=0, atol=0)
    assert ((vectors - ids)[~bare].abs().amax(1) > 0).all()


@FEW
@given(cases(), st.data())
def test_a_modality_that_is_not_given_is_absent(case: Case, data: st.DataObject) -> None:
    left_out = data.draw(st.sampled_from(sorted(case.widths)))
    tower, vectors = case.tower(1), case.vectors()
    nothing = {**case.present, left_out: torch.zeros(case.num_items, dtype=torch.bool)}
    with torch.no_grad():
        expected = tower.from_content(vectors, nothing, case.num_items)
        given_less = {name: v for name, v in vectors.items() if name != left_out}
        found = tower.from_content(given_less, {n: case.present[n] for n in given_less}, case.num_items)
    torch.testing.assert_close(found, expected, rtol=0, atol=0)


@FEW
@given(cases(), st.floats(0.05, 0.95))
def test_modality_dropout_never_hides_the_last_modality(case: Case, probability: float) -> None:
    assume(case.present_IM.any())
    fusion = case.fusion(probability)
    for _ in range(20):
        shown = fusion._visible(case.present_IM)
        assert not (shown & ~case.present_IM).any()
        assert (shown.any(1) == case.present_IM.any(1)).all()
    fused, alpha = fusion(case.vectors(), case.present)
    torch.testing.assert_close(alpha.sum(1), case.present_IM.any(1).float())
    assert torch.isfinite(fused).all()
