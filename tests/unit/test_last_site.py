"""The last site that announces a prefix: what keeps it announced, and what does not."""

import pytest
from lab.house import DOWN, UP, V4, V6, WALL, House, events, kinds, override, said, service

from exabgp_bfd.core.model import Action, Believed, Change, Order, Restored, Route, Rung, Sites


def elsewhere(*prefixes, sites=("fra1",)) -> Sites:
    return Sites({str(prefix): sites for prefix in prefixes})


NOWHERE = Sites({})
CUT_OFF = Sites(None)


def last(**rules):
    return service("dns", "edge1/*", keep_last=True, **rules)


def test_the_last_site_stays_and_says_so():
    house = House(last())
    house.take(NOWHERE)
    house.poll(a=UP)
    effects = house.poll(a=DOWN)
    assert said(effects) == []
    (held,) = events(effects, "last_site_held")
    assert held.service == "dns"
    assert held.details["targets"] == [str(V4)]
    assert house.chain(held.id)[:2] == ["last_site_held", "bfd_failure"]
    view = house.service()
    assert (view.announced, view.layer, view.health) == (True, "last_site", "down")
    assert "no other site announces it" in view.why
    assert any("order `withdraw`" in text for text in house.explain().because)
    # Once is enough.
    assert kinds(house.poll(a=DOWN)) == []


def test_as_soon_as_another_site_announces_it_goes():
    house = House(last())
    house.take(NOWHERE)
    house.poll(a=UP)
    house.poll(a=DOWN)
    effects = house.take(elsewhere(V4), 1.0)
    assert said(effects) == ["-v4"]
    assert kinds(effects) == ["last_site_released", "route_withdraw"]
    assert events(effects, "last_site_released")[0].details["sites"] == ["fra1"]


def test_where_another_site_announces_it_nothing_is_held():
    house = House(last())
    house.take(elsewhere(V4))
    house.poll(a=UP)
    assert said(house.poll(a=DOWN)) == ["-v4"]


def test_a_service_that_does_not_ask_for_it_goes():
    house = House(service("dns", "edge1/*"))
    house.take(NOWHERE)
    house.poll(a=UP)
    assert said(house.poll(a=DOWN)) == ["-v4"]


def test_nobody_who_is_cut_off_knows_and_decides_alone():
    house = House(last())
    house.poll(a=UP)
    assert said(house.poll(a=DOWN)) == ["-v4"]
    house.poll(a=UP)
    house.take(NOWHERE)
    house.poll(a=DOWN)
    assert house.announced()
    effects = house.take(CUT_OFF, 1.0)
    assert said(effects) == ["-v4"]
    assert events(effects, "last_site_released")[0].details["cut_off"] is True


def test_all_of_its_prefixes_must_be_elsewhere():
    house = House(last(prefixes=(V4, V6)))
    house.take(elsewhere(V4))
    house.poll(a=UP)
    assert said(house.poll(a=DOWN)) == []
    assert said(house.take(elsewhere(V4, V6), 1.0)) == ["-v4", "-v6"]


def test_two_sites_that_went_at_once_come_back():
    house = House(last())
    house.take(elsewhere(V4))
    house.poll(a=UP)
    assert said(house.poll(a=DOWN)) == ["-v4"]
    effects = house.take(NOWHERE, 1.0)
    assert said(effects) == ["+v4"]
    assert kinds(effects)[0] == "last_site_held"
    assert said(house.take(elsewhere(V4), 1.0)) == ["-v4"]


def test_what_never_earned_its_route_is_not_announced_as_the_last():
    house = House(last())
    house.take(NOWHERE)
    assert said(house.poll(a=DOWN)) == []
    assert not house.announced()
    assert house.service().layer == "health"


def test_what_was_announced_before_us_stays_too():
    restored = Restored(1, (Believed("dns", Route(V4), 1),), rib_kept=True, wall=WALL)
    house = House(last(), restored=restored)
    house.take(NOWHERE)
    assert said(house.poll(a=DOWN)) == []
    assert house.service().routes[0].announced


@pytest.mark.parametrize("action", [Action.WITHDRAW, Action.DRAIN])
def test_an_order_beats_it(action):
    house = House(last(drain_time=5.0))
    house.take(NOWHERE)
    house.poll(a=UP)
    house.poll(a=DOWN)
    house.order(action)
    house.poll(a=DOWN, after=3.0)
    house.poll(a=DOWN, after=3.0)
    assert not house.announced()


def test_recovery_ends_it_without_a_command():
    house = House(last())
    house.take(NOWHERE)
    house.poll(a=UP)
    house.poll(a=DOWN)
    effects = house.poll(a=UP)
    assert said(effects) == []
    assert "last_site_released" in kinds(effects)
    assert house.service().layer == "health"


def test_the_ladder_goes_before_it():
    house = House(last(on_down=Change(med=500)))
    house.take(NOWHERE)
    house.poll(a=UP)
    assert said(house.poll(a=DOWN)) == ["+v4 med 500"]


def test_a_reload_keeps_it_and_may_end_it():
    house = House(last())
    house.take(NOWHERE)
    house.poll(a=UP)
    house.poll(a=DOWN)
    effects = house.reload(last(rise=2))
    assert said(effects) == []
    assert "last_site_held" not in kinds(effects)
    assert said(house.reload(service("dns", "edge1/*"))) == ["-v4"]


def test_a_preview_knows_it():
    house = House(last())
    house.take(NOWHERE)
    house.poll(a=UP)
    house.poll(a=DOWN)
    assert house.engine.preview(house.next_plan(last(rise=2)), house.now).commands == ()
    (command,) = house.engine.preview(house.next_plan(service("dns", "edge1/*")), house.now).commands
    assert command.route == Route(V4)


def test_the_same_news_again_is_no_news():
    house = House(last())
    house.take(NOWHERE)
    house.poll(a=UP)
    house.poll(a=DOWN)
    assert house.take(Sites({}), 1.0) == []


def test_an_override_that_ends_leaves_the_last_announced():
    house = House(last())
    house.take(NOWHERE)
    house.poll(a=UP)
    house.poll(a=DOWN)
    house.take(Order(override("withdraw", since=house.wall)))
    assert not house.announced()
    assert said(house.clear()) == ["+v4"]


def drained_as_last(**rules) -> House:
    """Held as the last one, then ordered to drain."""
    house = House(last(drain_time=60.0, **rules))
    house.take(NOWHERE)
    house.poll(a=UP)
    house.poll(a=DOWN)
    assert house.service().layer == "last_site"
    assert said(house.order("drain", after=1.0)) == ["+v4 gshut"]
    return house


def test_a_drain_of_the_last_says_that_it_goes_before_it_goes():
    house = drained_as_last()
    assert said(house.wait(59.0)) == []
    assert said(house.wait(2.0)) == ["-v4"]


def test_a_drain_of_the_last_that_is_taken_back_leaves_it_as_it_was():
    house = drained_as_last()
    assert said(house.clear(after=1.0)) == ["+v4"]
    assert house.service().layer == "last_site"
    assert said(house.wait(300.0)) == []


def test_the_last_comes_back_from_a_drain_in_the_same_order():
    house = drained_as_last()
    house.wait(61.0)
    assert said(house.clear()) == ["+v4 gshut"]
    assert said(house.wait(59.0)) == []
    assert said(house.wait(2.0)) == ["+v4"]
    assert said(house.wait(300.0)) == []


def test_a_drain_of_the_last_keeps_what_it_was_announced_with():
    house = House(
        service("dns", "edge1/*", keep_last=True, drain_time=60.0, require=2, steps=(Rung(1, Change(med=500)),))
    )
    house.take(NOWHERE)
    house.poll(a=UP, b=UP)
    assert said(house.poll(a=DOWN, b=UP)) == ["+v4 med 500"]
    assert said(house.poll(a=DOWN, b=DOWN)) == []
    assert said(house.order("drain", after=1.0)) == ["+v4 med 500 gshut"]
    assert said(house.clear(after=1.0)) == ["+v4 med 500"]


def test_a_drain_of_the_last_announces_nothing_that_was_not():
    restored = Restored(1, (Believed("dns", Route(V4), 1),), rib_kept=True, wall=WALL)
    house = House(last(prefixes=(V4, V6), drain_time=60.0), restored=restored)
    house.take(NOWHERE)
    house.poll(a=DOWN)
    assert house.service().layer == "last_site"
    assert said(house.order("drain", after=1.0)) == ["+v4 gshut"]


def test_a_drain_of_the_last_ends_when_another_site_has_it():
    house = drained_as_last()
    assert said(house.take(elsewhere(V4), 1.0)) == ["-v4"]
