"""IDM and MOBIL against values worked by hand, and lane changes in a made-up situation."""

from __future__ import annotations

import numpy as np
import pytest

from mairl.scenarios.generate.conflicts import tables
from mairl.scenarios.generate.lane_changes import LaneChanges
from mairl.scenarios.generate.roads import Plan, bend, beside, eased
from mairl.scenarios.generate.simulate import Simulation, Vehicles
from mairl.scenarios.generate.traffic import (
    HARDEST,
    VEHICLE,
    approach,
    draw_vehicle,
    equilibrium_gap,
    fits,
    idm,
    mobil,
    travel_time,
)
from mairl.scenarios.schema import LaneType

DRIVER = {"headway": 1.5, "gap": 2.0, "accelerate": 1.0, "brake": 4.0}


def test_idm_on_a_free_road():
    # a (1 − (v / v0)⁴): full from rest, nothing at the desired speed, 15/16 at half of it.
    assert idm(0.0, 30.0, np.inf, 0.0, DRIVER) == pytest.approx(1.0)
    assert idm(15.0, 30.0, np.inf, 0.0, DRIVER) == pytest.approx(0.9375)
    assert idm(30.0, 30.0, np.inf, 0.0, DRIVER) == pytest.approx(0.0)


def test_idm_behind_a_leader():
    # s* = 2 + 10 · 1.5 + 10 · 4 / (2 √4) = 27; at a gap of 27 m the last term is 1.
    assert idm(10.0, 20.0, 27.0, 4.0, DRIVER) == pytest.approx(-0.0625)
    # A leader that drives away fast does not pull: s* stays at the standing gap.
    assert idm(10.0, 20.0, 4.0, -20.0, DRIVER) == pytest.approx(1 - 0.0625 - 0.25)
    assert idm(20.0, 20.0, 1.0, 20.0, DRIVER) == -HARDEST


def test_idm_rests_at_the_equilibrium_gap():
    # (2 + 10 · 1.5) / √(1 − (10/20)⁴) = 17 / √0.9375
    gap = equilibrium_gap(10.0, 20.0, DRIVER)
    assert gap == pytest.approx(17.55752, abs=1e-5)
    assert idm(10.0, 20.0, gap, 0.0, DRIVER) == pytest.approx(0.0, abs=1e-12)


def test_mobil_weighs_own_gain_against_the_others_loss():
    assert mobil((-1.0, 0.5), (0.0, -0.5), (0.0, 0.3), 0.5)  # 1.5 − 0.5 · 0.2 > 0.2
    assert not mobil((0.0, 0.5), (0.0, -1.0), (0.0, 0.0), 0.5)  # 0.5 − 0.5 · 1.0 = 0
    assert not mobil((-3.0, 1.0), (0.0, -2.5), (0.0, 0.0), 0.0)  # not safe for the one behind
    assert mobil((0.0, -1.0), (0.0, -2.5), (0.0, 0.0), 0.5, mandatory=True)
    assert not mobil((0.0, -1.0), (0.0, -3.5), (0.0, 0.0), 0.5, mandatory=True)


def test_approach_stops_at_the_line():
    distance, speed, hardest = 40.0, 12.0, 0.0
    for _ in range(300):
        a = float(approach(speed, distance, 2.0, 0.1))
        new = max(0.0, speed + min(a, 1.0) * 0.1)
        distance, speed, hardest = distance - (speed + new) * 0.05, new, min(hardest, a)
    assert -0.1 < distance < 0.2
    assert speed < 0.05
    assert hardest > -3.0


def test_travel_time():
    assert travel_time(10.0, 5.0, 1.0, 5.0) == pytest.approx(2.0)
    assert travel_time(8.0, 0.0, 1.0, 10.0) == pytest.approx(4.0)  # ½ · 1 · 4² = 8
    assert travel_time(12.0, 0.0, 1.0, 4.0) == pytest.approx(5.0)  # 8 m in 4 s, 4 m at 4 m/s
    assert travel_time(-1.0, 0.0, 1.0, 4.0) == 0.0


def test_long_vehicles_do_not_fit_tight_curves():
    # A front corner of a 6 × 2 m box on a circle of 8 m: √(9² + 3²) − 8 = 1.487 m out.
    assert fits(6.0, 2.0, 8.0, 1.49)
    assert not fits(6.0, 2.0, 8.0, 1.48)
    rng = np.random.default_rng(0)
    tight = [draw_vehicle(rng, 9.0, 1.45)["length"] for _ in range(300)]
    wide = [draw_vehicle(rng, 1e3, 1.7)["length"] for _ in range(300)]
    assert max(tight) < 6.0
    assert max(wide) > VEHICLE["truck"][1][0]


def test_easing_is_smooth_at_its_ends():
    u = np.array([0.0, 1e-3, 0.5, 1 - 1e-3, 1.0])
    assert eased(u) == pytest.approx([0, 1e-8, 0.5, 1, 1], abs=1e-6)


def two_lanes() -> Plan:
    plan = Plan()
    middle = bend((0.0, 0.0), 0.0, [(600.0, 0.0)])
    lanes = [
        [plan.lane(beside(middle, y).between(a, b), 3.6, 30.0, LaneType.FREEWAY) for a, b in ((0, 300), (300, 600))]
        for y in (1.8, -1.8)
    ]
    plan.rail(lanes[0], right=(1, 0.0, 600.0))
    plan.rail(lanes[1], left=(0, 0.0, 600.0))
    return plan


def some_cars(*, rail, s, v) -> Vehicles:
    cars = Vehicles.none()
    for k in range(len(rail)):
        cars.add(
            uid=5 * k, rail=rail[k], s=s[k], v=v[k], length=4.0, width=1.8, height=1.5, speed=1.0, headway=1.5,
            gap=2.0, accelerate=1.0, brake=4.0, politeness=0.2, duration=4.0, target=-1, change=0.0, change_length=1.0,
            changed=-9.0, goal=-1, committed=True, waited=0.0, arrived=np.inf,
        )  # fmt: skip
    return cars


def test_a_leader_is_found_across_lanes_of_the_route():
    plan = two_lanes()
    changes = LaneChanges(plan.rails, tables(plan.rails, 2.5, 1.5), 0.1)
    cars = some_cars(rail=[1, 1], s=[290.0, 321.0], v=[10.0, 6.0])
    found = changes.following(cars, np.array([20.0, 20.0]))
    assert found == pytest.approx([-0.0625, 1 - (6 / 20) ** 4])  # a gap of 27 m, as above


@pytest.mark.parametrize(
    ("rail", "s", "v", "changes_lane"),
    [
        ([1, 1], [200.0, 230.0], [25.0, 15.0], True),  # a slow one ahead, the left lane free
        ([1, 1, 0], [200.0, 230.0, 185.0], [25.0, 15.0, 32.0], False),  # a fast one close behind on the left
        ([1, 1, 0], [200.0, 230.0, 202.0], [25.0, 15.0, 25.0], False),  # one right beside
        ([1, 1, 0], [200.0, 230.0, 228.0], [25.0, 15.0, 14.0], False),  # the left lane is no faster
        ([1], [200.0], [25.0], False),  # nothing to gain
    ],
)
def test_lane_changes_in_a_made_up_situation(rail, s, v, changes_lane):
    plan = two_lanes()
    changes = LaneChanges(plan.rails, tables(plan.rails, 2.5, 1.5), 0.1)
    cars = some_cars(rail=rail, s=s, v=v)
    changes.update(cars, 0)
    assert (cars.target[0] == 0) == changes_lane
    assert cars.target[0] in (-1, 0)


def test_vehicles_brake_for_one_that_changes_in_front_of_them():
    plan = two_lanes()
    changes = LaneChanges(plan.rails, tables(plan.rails, 2.5, 1.5), 0.1)
    cars = some_cars(rail=[0, 1], s=[200.0, 225.0], v=[25.0, 20.0])
    desired = np.array([30.0, 30.0])
    before = changes.following(cars, desired)[0]
    cars.target[1] = 0
    assert before > 0
    assert changes.following(cars, desired)[0] < -1.0


def test_a_change_moves_across_smoothly_and_ends_in_the_lane():
    plan = two_lanes()
    simulation = Simulation(plan, np.random.default_rng(0), 1e9, None)
    simulation.cars = cars = some_cars(rail=[1], s=[100.0], v=[25.0])
    cars.target[0], cars.change_length[0] = 0, 100.0
    y, heading = [], []
    for _ in range(45):
        seen = simulation.seen()
        y.append(float(seen["xy"][0, 1]))
        heading.append(float(seen["heading"][0]))
        simulation.advance()
    assert y[0] == pytest.approx(-1.8)
    assert y[-1] == pytest.approx(1.8)
    assert (np.diff(y) >= 0).all()
    assert cars.rail[0] == 0
    # At the middle the slope is 3.6 · 15/8 / 100.
    assert max(heading) == pytest.approx(np.arctan(3.6 * 1.875 / 100), abs=2e-3)
    assert heading[0] == heading[-1] == 0.0
