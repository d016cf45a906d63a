"""I-LOLA: rewards of learners that anticipate each other's learning, from how their policies change.

    argmin over ω, α, λ of Σ_{t,i} ‖θ_i^{t+1} - θ_i^t - α_i F_i(θ^t; ω, λ)‖²

for a family F of learners (`mairl.ops.learners`). With constant steps u_i = α_i ω_i and λ = η / α are what can be told.

    for each family: fit u and λ to the training transitions (`mairl.algorithms.family_search`);
    keep what predicts the validation transitions best.

Only where no family leaves rounding are more starts tried, steps whose sizes change, and then further families. λ says
what kind of learner it is: 0 for naive ones.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from jaxtyping import Float

from mairl.algorithms.changing_steps import changing_steps
from mairl.algorithms.family_fit import Fit
from mairl.algorithms.family_search import (
    EQUAL,
    EXACT,
    STARTS,
    WORK,
    Search,
    from_grid,
    from_more_starts,
    mean_look_ahead,
    step_work,
)
from mairl.algorithms.i_logel import i_logel
from mairl.algorithms.logel import check_moved, still_agents
from mairl.algorithms.recovered import Recovered, open_directions
from mairl.algorithms.update_model import BILINEAR, pairs_of
from mairl.core.errors import InvalidData, Unsupported
from mairl.data.learning_history import LearningHistory
from mairl.ops.learners import ANTICIPATING, LEARNERS
from mairl.ops.least_squares import null_space
from mairl.ops.linear_game import LinearGame

GRID = (0.0, 0.25, 1.0, 4.0, 16.0, 64.0)
"""Values of λ that are tried, before it goes free from the best."""

FURTHER = ("ma-spi", "lookahead", "lola-full")
"""Families that are tried, one after the other, where the bilinear ones do not explain a history."""

SMALL = 1e-6
"""Relative errors, of what was fitted and of what was not, with which a family explains a history well enough."""

LARGE = 1e-2
"""Relative residuals above this are more than noise in snapshots."""

TOO_MUCH = 1e9
"""Multiplications of a Gauss-Newton step, roughly, with which a further family is left out."""


def i_lola(
    game: LinearGame,
    history: LearningHistory,
    *,
    families: tuple[str, ...] | None = None,
    look_aheads: tuple[float, ...] = GRID,
    validation: int = 2,
) -> Recovered:
    """The rewards, λ and the family of learners that explain a history best.

    Args:
        families: names in `mairl.ops.learners.LEARNERS`; several are compared by the validation transitions. None: the
            bilinear ones, and where they do not explain the history one after the other of `FURTHER`.
        look_aheads: λ ≥ 0 that are tried. One value only: λ is known, and stays.
        validation: how many of the last transitions choose λ and the family. They are not fitted.

    Raises:
        InvalidData: fewer than one transition is left to be fitted.
        Unsupported: no family or an unknown one, a λ that is negative or not finite, policies that do not change, or no
            fit that converges.
    """
    check_choices(families, look_aheads)
    transitions = history.num_snapshots - 1
    if validation < 1 or transitions - validation < 1:
        raise InvalidData(
            f"{transitions} transitions, {validation} of them for validation: at least one is needed to fit and one to "
            "choose; observe more steps, or set validation"
        )
    logits = history.logits()
    fitted = history.snapshots(slice(0, transitions - validation + 1))
    check_moved(np.diff(fitted.logits(), axis=0))
    naive = i_logel(game, fitted)
    groups = [families] if families is not None else [BILINEAR, *((family,) for family in FURTHER)]
    found: list[Recovered] = []
    changing: Recovered | None = None
    notes: list[str] = []
    for k, group in enumerate(groups):
        if k > 0 and step_work(game, transitions - validation, group[0]) > TOO_MUCH and group[0] in ANTICIPATING:
            notes.append(f"not fitted, {group[0]}: with so many features it takes long; name it in families")
            continue
        found += _group(game, logits, group, look_aheads, validation, naive, notes)
        if "naive" in group and not any(_explains(one, EXACT) for one in found):
            changing = changing_steps(game, fitted, logits, validation)
        enough = any(_explains(one, SMALL) for one in [*found, *([changing] if changing else [])])
        # Features that move nobody tell nothing, whatever the learners.
        if enough or (found and not any(any(one.rank) for one in found)):
            break
    if not found:
        raise Unsupported(f"no family fits: {'; '.join(notes)}")
    if families is None or len(families) > 1:
        notes += _few(transitions - validation, transitions)
    best = min(found, key=_error)
    # Sizes of their own fit much: they have to be much better.
    if changing and changing.relative_residual < 10 * LARGE and 10 * _error(changing) < _error(best):
        best = changing
    return with_doubts(dataclasses.replace(best, notes=(*best.notes, *notes)))


def _few(fitted: int, transitions: int) -> list[str]:
    """A note where families could hardly be told apart: nearly all rewards of all of them explain one or two steps."""
    if fitted > 2:
        return []
    return [
        f"the family was chosen by fits to {fitted} of {transitions} transitions, which others may explain as well: "
        "observe more steps, or name the family (families)"
    ]


def check_choices(families: tuple[str, ...] | None, look_aheads: tuple[float, ...]) -> None:
    """Raises `Unsupported` for families and λ that cannot be tried."""
    if families is not None and not families:
        raise Unsupported(f"no family of learners to assume: name at least one of {', '.join(LEARNERS)}")
    if unknown := sorted(set(families or ()) - set(LEARNERS)):
        raise Unsupported(f"unknown learner {', '.join(unknown)}; there are {', '.join(LEARNERS)}")
    if not look_aheads or not all(np.isfinite(one) and one >= 0 for one in look_aheads):
        raise Unsupported(f"look-aheads must be finite numbers, 0 or more, got {look_aheads}")


def _error(found: Recovered) -> float:
    return max(found.held_out or 0.0, EQUAL)


def _explains(found: Recovered, bound: float) -> bool:
    return max(found.relative_residual, found.held_out or 0.0) < bound


def _group(game, logits, families, look_aheads, validation: int, naive: Recovered, notes: list[str]) -> list[Recovered]:
    """The best fit of each family: all of them the quick way first, since one may explain everything."""
    searches: list[tuple[Search, Fit]] = []
    for family in families:
        try:
            search = Search.of(game, logits, family, validation)
            searches.append((search, from_grid(search, look_aheads, naive.weights)))
        except Unsupported as error:
            notes.append(f"not fitted, {family}: {error}")
    if not any(search.explained(fit) for search, fit in searches):
        for k, (search, fit) in enumerate(searches):
            starts = min(STARTS, int(WORK / step_work(game, len(logits) - 1 - validation, search.family)))
            searches[k] = search, from_more_starts(search, fit, naive, look_aheads, starts)
    still = still_agents(np.diff(logits[: len(logits) - validation], axis=0))
    return [recovered(game, s.seen, s.on_all_rows(fit), s.family, s.missed(fit), still) for s, fit in searches]


def with_doubts(found: Recovered) -> Recovered:
    """A result with the notes that say why it may not be what happened."""
    doubts = _doubts(found)
    return dataclasses.replace(found, notes=(*found.notes, *doubts), doubts=doubts)


def _doubts(found: Recovered) -> tuple[str, ...]:
    rest = found.relative_residual
    if found.held_out is not None and found.held_out > 1:
        return (
            f"{found.family} learners do not describe this history: on the transitions that were not fitted the error "
            f"is {found.held_out:.3g} of the changes, 1 is that of expecting no change; do not trust these rewards",
        )
    if rest > LARGE:
        return (
            f"{rest:.2g} of the changes remain unexplained by {found.family} learners: they learn in another way, step "
            "sizes change, rewards are not made of these features, or the snapshots are noisy; do not trust these "
            "rewards without another reason",
        )
    if rest > EXACT:
        return (
            f"{rest:.2g} of the changes remain unexplained; of exact snapshots {found.family} learners would leave "
            f"less than {EXACT:g}: unless the snapshots are noisy, these are other learners or a local minimum",
        )
    return ()


def recovered(
    game: LinearGame, seen, fit: Fit, family: str, held_out: float | None, still: tuple[int, ...] = ()
) -> Recovered:
    """A fit with what it leaves open: of each agent's reward, the directions that move nobody's policy; all of them for
    agents that stand `still`."""
    slopes = seen.jacobian(fit.weights, fit.look_ahead)
    spaces = free_directions(slopes, game.num_agents, game.num_features)
    for i in still:
        # That an agent does not learn says nothing of what it wants.
        spaces[i] = np.eye(game.num_features)
    weights = np.stack([w - space @ (space.T @ w) for w, space in zip(fit.weights, spaces)])
    # Nobody anticipates itself.
    pairs = fit.look_ahead * (1 - np.eye(game.num_agents)) if np.ndim(fit.look_ahead) else None
    notes = open_directions(spaces, still)
    least = fit.look_ahead if pairs is None else min(pairs[pair] for pair in pairs_of(game.num_agents))
    if pairs is not None:
        each = ", ".join(f"{i} of {j}: {pairs[i, j]:.4g}" for i, j in pairs_of(game.num_agents))
        notes += (f"look-ahead differs between pairs of agents ({each}): their step sizes are unlike",)
    if least < 0:
        notes += (f"look-ahead {least:.3g} is negative: this family does not describe these learners",)
    return Recovered(
        family=family,
        weights=weights,
        look_ahead=mean_look_ahead(fit.look_ahead) if family in ANTICIPATING else None,
        look_ahead_pairs=pairs,
        relative_residual=fit.relative_residual,
        held_out=held_out,
        rank=tuple(game.num_features - basis.shape[1] for basis in spaces),
        null_space=tuple(spaces),
        iterations=fit.iterations,
        notes=notes,
    )


def free_directions(
    slopes: Float[np.ndarray, "row unknown"], agents: int, features: int
) -> list[Float[np.ndarray, "feature free"]]:
    """For each agent a basis of the rewards that move nobody's policy, from the stacked derivatives of all updates."""
    return [null_space(slopes[:, i * features : (i + 1) * features]) for i in range(agents)]
