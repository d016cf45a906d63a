"""The contract kit fails on each planted fault, and says which."""

from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mairl.core.game import MarkovGame, TimeStep
from mairl.core.spaces import Box, Discrete
from mairl.testing import ContractViolation, check_game

KEY = jax.random.key(0)


class Walk(MarkovGame):
    """A sound game: two agents share a counter that grows by luck; 4 of it end the game. Agent 1 may not act 2.

    Each subclass below plants one fault.
    """

    num_agents: ClassVar[int] = 2
    action_space: ClassVar[Discrete | Box] = Discrete(3)
    observation_spec: ClassVar[dict] = {"count": jax.ShapeDtypeStruct((1,), jnp.float32)}
    horizon: ClassVar[int] = 6
    luck: ClassVar[float] = 0.25

    def reset(self, key):
        state = {"count": jnp.int32(0), "time": jnp.int32(0)}
        return state, self.observe(state)

    def step(self, key, state, actions):
        return self.result(state, jax.random.bernoulli(key, self.luck))

    def result(self, state, grows):
        after = {"count": state["count"] + grows, "time": state["time"] + 1}
        over = after["count"] >= 4
        return after, TimeStep(
            obs=self.observe(after),
            reward=jnp.ones(2),
            terminated=jnp.broadcast_to(over, (2,)),
            truncated=(after["time"] >= 6) & ~over,
            mask=jnp.ones(2, bool),
        )

    def observe(self, state):
        return {"count": jnp.broadcast_to(state["count"].astype(jnp.float32), (2, 1))}

    def action_mask(self, state):
        return jnp.array([[True, True, True], [True, True, False]])

    def successors(self, key, state, actions):
        both = [self.result(state, grows) for grows in (False, True)]
        after = jax.tree.map(lambda *x: jnp.stack(x), *[a for a, _ in both])
        over = jnp.stack([step.terminated for _, step in both])
        return after, over, jnp.array([1 - self.luck, self.luck])

    def render(self, state):
        return np.zeros((2, 2, 3), np.uint8)


def changed(step, **fields):
    names = list(fields)
    return eqx.tree_at(lambda s: [getattr(s, n) for n in names], step, list(fields.values()))


class Stepping(Walk):
    """A `Walk` whose steps are spoilt by `spoil(state before, state after, step)`."""

    def result(self, state, grows):
        after, step = super().result(state, grows)
        return self.spoil(state, after, step)

    def spoil(self, state, after, step):
        raise NotImplementedError


class Paid(Walk):
    """Every step pays 1, twice the half that its one feature is."""

    def feature_names(self):
        return ("half",)

    def features(self, state, actions, next_state):
        return jnp.full((2, 1), 0.5)

    def feature_weights(self):
        return np.full((2, 1), 2.0)


class WrongWeights(Paid):
    def feature_weights(self):
        return np.array([[2.0], [3.0]])


class FewWeights(Paid):
    def feature_weights(self):
        return np.full(1, 2.0)


class ManyFeatures(Paid):
    def features(self, state, actions, next_state):
        return jnp.full((2, 3), 0.5)


class NoHorizon(Walk):
    horizon: ClassVar[int] = 0


class TwinNames(Walk):
    def agent_names(self):
        return ("a", "a")


class FewActionNames(Walk):
    def action_names(self):
        return ("a", "b")


class WrongSpace(Walk):
    action_space: ClassVar = (0, 1, 2)


class WrongSpec(Walk):
    observation_spec: ClassVar[dict] = {"count": (1,)}


class WrongShape(Walk):
    observation_spec: ClassVar[dict] = {"count": jax.ShapeDtypeStruct((2,), jnp.float32)}


class WrongType(Walk):
    observation_spec: ClassVar[dict] = {"count": jax.ShapeDtypeStruct((1,), jnp.int32)}


class WrongTree(Walk):
    observation_spec: ClassVar[dict] = {"number": jax.ShapeDtypeStruct((1,), jnp.float32)}


class ResetSeesOtherwise(Walk):
    def reset(self, key):
        state, obs = super().reset(key)
        return state, {"count": obs["count"] + 1}


class StepSeesOtherwise(Stepping):
    def spoil(self, state, after, step):
        return after, changed(step, obs={"count": step.obs["count"] + 1})


class SeesOtherwiseLater(Stepping):
    def spoil(self, state, after, step):
        return after, changed(step, obs={"count": step.obs["count"] + (after["time"] > 3)})


class SeesNothing(Walk):
    def observe(self, state):
        return {"count": jnp.where(state["time"] > 2, jnp.nan, super().observe(state)["count"])}


class GrowingState(Stepping):
    def spoil(self, state, after, step):
        return {**after, "count": after["count"].astype(jnp.float32)}, step


class OtherState(Stepping):
    def spoil(self, state, after, step):
        return {**after, "extra": after["time"]}, step


class OneReward(Stepping):
    def spoil(self, state, after, step):
        return after, changed(step, reward=jnp.ones(()))


class NumberForTruth(Stepping):
    def spoil(self, state, after, step):
        return after, changed(step, terminated=step.terminated.astype(jnp.float32))


class OddInfo(Stepping):
    def spoil(self, state, after, step):
        return after, eqx.tree_at(lambda s: s.info, step, {"odd": jnp.zeros(7)})


CALLS = iter(range(10**9))


class Hidden(Stepping):
    def spoil(self, state, after, step):
        return after, changed(step, reward=jnp.full(2, float(next(CALLS))))


class NoTracing(Stepping):
    def spoil(self, state, after, step):
        return after, changed(step, reward=jnp.full(2, 1.0 if int(after["time"]) > 0 else 0.0))


class OtherwiseCompiled(Stepping):
    def spoil(self, state, after, step):
        traced = isinstance(after["time"], jax.core.Tracer)
        return after, changed(step, reward=jnp.full(2, float(traced)))


class NanReward(Stepping):
    def spoil(self, state, after, step):
        return after, changed(step, reward=jnp.where(after["time"] == 4, jnp.nan, step.reward))


class NobodyThere(Stepping):
    def spoil(self, state, after, step):
        return after, changed(step, mask=step.mask & (after["time"] < 3))


class BothEndings(Stepping):
    def spoil(self, state, after, step):
        return after, changed(step, truncated=(after["time"] >= 6), terminated=jnp.full(2, after["time"] >= 6))


class EarlyCut(Stepping):
    def spoil(self, state, after, step):
        return after, changed(step, truncated=(after["time"] >= 5) & ~step.terminated.all())


class NoCut(Stepping):
    def spoil(self, state, after, step):
        return after, changed(step, truncated=jnp.zeros((), bool))


class BackAgain(Stepping):
    def spoil(self, state, after, step):
        first = after["time"] == 2
        return after, changed(step, terminated=step.terminated | jnp.array([False, True]) & first)


class ActsOn(Stepping):
    def spoil(self, state, after, step):
        return after, changed(step, terminated=step.terminated | jnp.array([False, True]) & (after["time"] >= 2))


class NotCooperative(Stepping):
    cooperative: ClassVar[bool] = True

    def spoil(self, state, after, step):
        return after, changed(step, reward=jnp.array([1.0, 0.0]))


class MaskShape(Walk):
    def action_mask(self, state):
        return jnp.ones((2, 4), bool)


class MaskType(Walk):
    def action_mask(self, state):
        return jnp.ones((2, 3))


class MaskOfBox(Walk):
    action_space: ClassVar[Box] = Box(3)


class NothingAllowed(Walk):
    def action_mask(self, state):
        return super().action_mask(state) & (state["time"] < 3)


class NotOne(Walk):
    def successors(self, key, state, actions):
        after, over, p = super().successors(key, state, actions)
        return after, over, 0.9 * p


class WrongOdds(Walk):
    def successors(self, key, state, actions):
        after, over, p = super().successors(key, state, actions)
        return after, over, p[::-1]


class ForgottenBranch(Walk):
    def successors(self, key, state, actions):
        return MarkovGame.successors(self, key, state, actions)


class BranchEndsOtherwise(Walk):
    def successors(self, key, state, actions):
        after, over, p = super().successors(key, state, actions)
        return after, ~over, p


class FlatBranches(Walk):
    def successors(self, key, state, actions):
        after, over, p = super().successors(key, state, actions)
        return after, over[:, 0], p


class OddPicture(Walk):
    def render(self, state):
        return np.zeros((2, 2), np.uint8)


class HostTooLong(NoCut):
    pure: ClassVar[bool] = False


class HostNan(NanReward):
    pure: ClassVar[bool] = False


FAULTS = {
    NoHorizon: "horizon must be a positive int, got 0",
    TwinNames: "agent_names must be 2 distinct names",
    FewActionNames: "action_names must be 3 names, got 2",
    WrongSpace: "action_space must be Discrete or Box",
    WrongSpec: "observation_spec must be a pytree of",
    WrongShape: r"reset: the observation at \['count'\] is float32\(2, 1\), observation_spec says float32\(2, 2\)",
    WrongType: "observation_spec says int32",
    WrongTree: "the observation's structure",
    ResetSeesOtherwise: "differs from the observation that reset returned",
    StepSeesOtherwise: "differs from the observation that step returned",
    SeesOtherwiseLater: r"observe\(next state\) differs from step's obs",
    SeesNothing: "observation is not finite",
    GrowingState: r"state's leaf \['count'\] from int32\(\) to float32\(\)",
    OtherState: "state of another structure",
    OneReward: r"reward is float32\(\), expected floating\(2,\)",
    NumberForTruth: r"terminated is float32\(2,\), expected bool",
    OddInfo: r"info\['odd'\] has shape \(7,\)",
    Hidden: "declare pure = False",
    NoTracing: "step does not work under jit and vmap",
    OtherwiseCompiled: "step differs under jit and vmap",
    NanReward: "rewards of acting agents are not finite, the first at step 3",
    NobodyThere: r"nobody is in the game \(mask\) at step 2",
    BothEndings: "both terminated for all and truncated",
    EarlyCut: "truncated after 5 steps, before the horizon of 6",
    NoCut: "not over after 6 steps, its horizon",
    BackAgain: "alive again at step 2",
    ActsOn: r"still acts \(mask\) at step 2",
    NotCooperative: "cooperative is declared, but rewards differ",
    MaskShape: r"action_mask is bool\(2, 4\), expected bool\(2, 3\)",
    MaskType: "action_mask is float32",
    MaskOfBox: "the action space is not Discrete",
    NothingAllowed: "no allowed action at step 3",
    NotOne: "probabilities sum to 0.9, not 1",
    WrongOdds: "branch 0 has probability 0.25, but step drew it in 0.7",
    ForgottenBranch: "states that step drew are not among the branches",
    BranchEndsOtherwise: "terminate otherwise than their branch says",
    FlatBranches: r"terminated is bool\(2,\)",
    OddPicture: r"render must return uint8 \[height, width, 3\]",
    WrongWeights: "features · weights is 1.5 where agent 1 was paid 1, at step 0",
    FewWeights: r"feature_weights must have shape \(2, 1\)",
    ManyFeatures: r"features must have shape \(2, 1\) \[agent, feature\], got \(2, 3\)",
    HostTooLong: "not over after 6 steps",
    HostNan: "a reward is not finite at step 3",
}


def test_a_sound_game_passes():
    check_game(Walk(), KEY)
    check_game(Paid(), KEY)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda f: f.__name__)
def test_planted_faults_are_found(fault):
    with pytest.raises(ContractViolation, match=FAULTS[fault]):
        check_game(fault(), KEY, num_envs=4, samples=300)


class Push(MarkovGame):
    """A sound differentiable game: one agent pushes a point; being far from 0 costs."""

    num_agents: ClassVar[int] = 1
    action_space: ClassVar[Box] = Box(1)
    observation_spec: ClassVar[jax.ShapeDtypeStruct] = jax.ShapeDtypeStruct((1,), jnp.float32)
    horizon: ClassVar[int] = 3
    differentiable: ClassVar[bool] = True

    def reset(self, key):
        state = {"x": jax.random.normal(key, (1,)), "time": jnp.int32(0)}
        return state, self.observe(state)

    def push(self, x, actions):
        return x + actions[0]

    def step(self, key, state, actions):
        after = {"x": self.push(state["x"], actions), "time": state["time"] + 1}
        no = jnp.zeros(1, bool)
        return after, TimeStep(self.observe(after), -(after["x"] ** 2), no, after["time"] >= 3, ~no)

    def observe(self, state):
        return state["x"][None]


class NoSlope(Push):
    def push(self, x, actions):
        return x + jnp.round(actions[0])


class InfiniteSlope(Push):
    def push(self, x, actions):
        return x + jnp.sqrt(0 * actions[0])


def test_gradients():
    check_game(Push(), KEY)
    with pytest.raises(ContractViolation, match="gradient with respect to actions is 0"):
        check_game(NoSlope(), KEY)
    with pytest.raises(ContractViolation, match="a gradient is not finite"):
        check_game(InfiniteSlope(), KEY)
