"""Every rule at once: ladders, damping, orders, windows, the guard, clocks, stalls and reloads, in random houses.

What is announced must be what a naive judge (`oracle.py`) makes of all that was seen and ordered, in the very answer to
the input that decided. Deciding goes by samples and deadlines on a grid of an eighth of a second; what the wall clock
begins or ends lies between, so that no two things of different kind fall due at one moment.
"""

from dataclasses import dataclass, replace
from datetime import UTC
from ipaddress import ip_address, ip_network

from hypothesis import event as observed
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
from property.oracle import (
    BAD,
    GRACEFUL_SHUTDOWN,
    Follower,
    History,
    Sample,
    Verdict,
    goes_to,
    is_open,
    matches,
    opened,
)

from exabgp_bfd.core.engine import Engine
from exabgp_bfd.core.model import (
    Action,
    Advertised,
    Announce,
    Answer,
    Ask,
    Believed,
    Change,
    Clear,
    Clock,
    Damping,
    Device,
    Disabled,
    Forget,
    Guard,
    Held,
    Lift,
    Look,
    Neighbor,
    Observation,
    Order,
    Outcome,
    Override,
    Pace,
    Peer,
    Peers,
    Plan,
    Poll,
    Reading,
    Record,
    Reload,
    Remember,
    RememberOrder,
    Restored,
    Rib,
    Route,
    Rung,
    Selector,
    Service,
    Session,
    Silence,
    Source,
    Span,
    Stall,
    Start,
    State,
    Stop,
    Tick,
    Watchdog,
    Weekly,
    Window,
    Withdraw,
)

DEVICES = ("edge1", "edge2", "edge3")
STALE_AFTER = {"edge1": 3.0, "edge2": 3.0, "edge3": 8.0}
NEIGHBORS = (ip_address("203.0.113.1"), ip_address("203.0.113.2"))
ORPHAN = Route(ip_network("198.18.0.0/24"))
STATES = [State.UP, State.UP, State.UP, State.DOWN, State.DOWN, State.INIT, State.ADMIN_DOWN, State.MISSING]
STEPS = [0.0, 0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 11.0]
OFF_GRID = 0.0625
MIDNIGHT = 1_790_553_600.0
"""A Monday, 00:00 UTC."""
WALL = MIDNIGHT - 20.0
"""What the clock reads when we begin."""
CLOCK_JUMP, CLOCK_SETTLES = 2.0, 60.0
TARGETS = [
    Route(ip_network("192.0.2.0/32"), med=100),
    Route(ip_network("192.0.2.1/32"), communities=("65000:1",)),
    Route(ip_network("2001:db8::2/128")),
    Watchdog("three"),
    Route(ip_network("192.0.2.4/32"), neighbors=NEIGHBORS[:1]),
    Route(ip_network("192.0.2.5/32"), neighbors=NEIGHBORS),
]
CHANGES = [Change(med=200), Change(communities=("65000:9",), local_preference=50), Change(as_path=(65000, 65000))]


# --- houses -------------------------------------------------------------------------------------------------------


@dataclass
class Setting:
    """What one example is about."""

    plan: Plan
    sessions: list[Session]
    begins: dict[str, State]
    restored: Restored
    counters: str


@dataclass
class Fall:
    """A service was withdrawn for its health."""

    time: float
    service: str
    surely: bool = True
    """Whether it counts against the limit in any case."""


@st.composite
def ladders(draw, require):
    best = {1: 1, 2: 2, 3: 3, "all": 3}[require]
    ups = [up for up in range(best - 1, 0, -1) if draw(st.booleans())]
    steps = [Rung(up, draw(st.sampled_from(CHANGES))) for up in ups]
    if steps and draw(st.integers(0, 3)) == 0:
        steps[-1] = replace(steps[-1], change=None)
    return tuple(steps)


@st.composite
def services(draw, number, place, devices, sessions):
    choices = [Selector(device, "*") for device in devices]
    choices += [Selector(each.device, draw(st.sampled_from([each.name, each.interface]))) for each in sessions]
    choices.append(Selector(devices[0], "ghost"))
    rarely = st.integers(0, 4).map(lambda each: each == 0)
    readings = {}
    if draw(rarely):
        names = ("on_admin_down", "on_missing", "on_unknown")
        readings = {name: draw(st.sampled_from(Reading)) for name in names}
    require = draw(st.sampled_from([1, 1, 2, 3, "all"]))
    damping = st.builds(
        Damping,
        penalty=st.just(1000.0),
        cutoff=st.sampled_from([1000.0, 2000.0, 2500.0]),
        reuse=st.sampled_from([500.0, 900.0]),
        half_life=st.sampled_from([2.0, 8.0]),
        ceiling=st.sampled_from([2500.0, 8000.0]),
    )
    return Service(
        name=f"service{number}",
        routes=tuple(TARGETS[(2 * place + each) % len(TARGETS)] for each in range(draw(st.integers(1, 2)))),
        selectors=tuple(draw(st.lists(st.sampled_from(choices), min_size=1, max_size=3, unique=True))),
        require=require,
        rise=draw(st.integers(1, 3)),
        fall=draw(st.sampled_from([1, 1, 2, 3])),
        hold_up=draw(st.sampled_from([0.0, 1.0, 3.0])),
        confirm=draw(st.booleans()),
        confirm_timeout=draw(st.sampled_from([0.25, 0.5])),
        steps=draw(ladders(require)),
        on_down=draw(st.sampled_from([None, None, Change(med=500)])),
        damping=draw(damping) if draw(st.integers(0, 2)) == 0 else None,
        drain_time=draw(st.sampled_from([0.0, 2.0, 5.0])),
        disable_file=draw(st.sampled_from([None, "/run/off"])),
        on_disable=draw(st.sampled_from([Action.WITHDRAW, Action.DRAIN])),
        **readings,
    )


@st.composite
def windows(draw, number, devices, sessions, names):
    """A window over services, or over devices and sessions, that begins or ends within a minute of the start."""
    start = WALL + draw(st.integers(-5, 40)) + OFF_GRID
    length = draw(st.sampled_from([1.0, 4.0, 15.0]))
    when = draw(
        st.sampled_from(
            [
                Span(start, start + length),
                Span(None, start + length),
                Span(start, None),
                # Without seconds, so on the grid but for the half of a half by which our clock is off.
                Weekly(frozenset({0}), 0, 0, length, UTC),
                Weekly(frozenset({0, 3}), 0, 1, length, UTC),
            ]
        )
    )
    name = f"window{number}"
    if draw(st.booleans()):
        about = draw(st.lists(st.sampled_from(names), min_size=1, max_size=2, unique=True)) if names else []
        return Window(name, when, services=tuple(about), action=draw(st.sampled_from(Action)))
    reading = draw(st.sampled_from([Reading.HOLD, Reading.DOWN]))
    if draw(st.booleans()):
        return Window(name, when, devices=(draw(st.sampled_from(devices)),), reading=reading)
    session = draw(st.sampled_from(sessions))
    return Window(name, when, sessions=(Selector(session.device, session.name),), reading=reading)


@st.composite
def plans(draw, house, sessions, before=None):
    """A plan over a house; with one before, often only a little different."""
    devices = house
    if before is not None and len(house) > 1 and draw(st.integers(0, 5)) == 0:
        devices = house[:-1]
    there = [each for each in sessions if each.device in devices] or [Session(devices[0], "s9", interface="i9")]
    kept = {}
    if before is not None:
        kept = {each.name: each for each in before.services if {one.device for one in each.selectors} <= {*devices}}
    shift = draw(st.sampled_from([0, 0, 0, 1])) if before is not None else 0
    chosen = []
    for number in range(draw(st.integers(1, 3))):
        name = f"service{number}"
        place = number + shift
        if name in kept and draw(st.integers(0, 2)):
            chosen.append(kept[name])
        else:
            chosen.append(draw(services(number, place, devices, there)))
    taken = set()
    for place, each in enumerate(chosen):
        routes = tuple(route for route in each.routes if route.key not in taken)
        if not routes:
            routes = (Route(ip_network(f"192.0.2.{128 + place}/32")),)
        taken |= {route.key for route in routes}
        chosen[place] = replace(each, routes=routes)
    names = [each.name for each in chosen]
    planned = tuple(draw(windows(number, devices, there, names)) for number in range(draw(st.integers(0, 2))))
    if before is not None and draw(st.booleans()):
        planned = tuple(each for each in before.windows if fits(each, devices, names))
    return Plan(
        tuple(Device(name, STALE_AFTER[name]) for name in devices),
        tuple(chosen),
        windows=planned,
        guard=draw(
            st.sampled_from([Guard(), Guard(), Guard(1, None, 4.0), Guard(None, 0.5, 10.0), Guard(2, 0.7, 6.0)])
        ),
        forget_after=before.forget_after if before is not None else draw(st.sampled_from([86400.0, 86400.0, 12.0])),
    )


def fits(window, devices, names):
    about = {*window.devices, *(each.device for each in window.sessions)}
    return about <= {*devices} and {*window.services} <= {*names}


@st.composite
def settings_of_an_example(draw):
    house = DEVICES[: draw(st.integers(1, 3))]
    homes = draw(st.lists(st.sampled_from(house), min_size=1, max_size=4))
    sessions = [Session(device, f"s{number}", interface=f"i{number}") for number, device in enumerate(homes)]
    plan = draw(plans(house, sessions))
    begins = {each.id: draw(st.sampled_from([State.UP, *STATES])) for each in sessions}
    counters = draw(st.sampled_from(["none", "ups", "both", "last_up"]))
    return Setting(plan, sessions, begins, draw(predecessors(plan)), counters)


@st.composite
def predecessors(draw, plan):
    fate = draw(st.sampled_from(["none", "none", "kept", "lost"]))
    if fate == "none":
        return Restored(wall=WALL)
    held = [
        Believed(service.name, route, number + 1)
        for number, service in enumerate(plan.services)
        for route in service.routes
        if draw(st.booleans())
    ]
    if draw(st.booleans()):
        held.append(Believed("gone", ORPHAN, 50))
    overrides = [
        draw(overrides_of(service.name, WALL, ages=[0.0, 3.0, 100.0]))
        for service in plan.services
        if draw(st.integers(0, 2)) == 0
    ]
    lift = draw(st.sampled_from([None, Lift("noc", "works", WALL - 5.0, WALL + 6.0 + OFF_GRID)]))
    return Restored(100, tuple(held), fate == "kept", expired=False, wall=WALL, overrides=tuple(overrides), lift=lift)


def overrides_of(service, wall, ages=(0.0,)):
    return st.builds(
        Override,
        service=st.just(service),
        action=st.sampled_from(Action),
        actor=st.just("noc"),
        reason=st.just("works"),
        since=st.sampled_from([wall - age for age in ages]),
        expires=st.sampled_from([None, *(wall + seconds + OFF_GRID for seconds in (0.0, 1.0, 4.0, 20.0))]),
    )


# --- the machine --------------------------------------------------------------------------------------------------


class OrdersMachine(RuleBasedStateMachine):
    """Plays a house through an engine, and holds every answer against the judge's."""

    # --- building, and the one way in ---------------------------------------------------------------------------

    @initialize(setting=settings_of_an_example())
    def build(self, setting):
        self.setting = setting
        self.plan = setting.plan
        self.now, self.offset = 0.0, WALL
        self.doubted_until = None
        self.log, self.answers, self.looks, self.commands = [], [], [], []
        self.router = dict(setting.begins)
        self.counted = {each.id: [1, 0, 7] for each in setting.sessions}
        self.histories = {}
        self.followers = {each.name: Follower(each) for each in self.plan.services}
        self.begin_unmatched(self.followers.values())
        self.device_heard = {each.name: None for each in self.plan.devices}
        self.eyes_since = float("-inf")
        self.empty_since, self.refilling = {}, {}
        self.open = {}
        self.lift = setting.restored.lift
        self.fallen = []
        self.pace = {}
        self.last_event = setting.restored.last_event
        self.latest = {}
        self.repairs = set()
        self.named = False
        kept = setting.restored.rib_kept
        self.table = {each.route.key: each.route for each in setting.restored.believed}
        self.owner = {each.route.key: each.service for each in setting.restored.believed}
        self.remembered = {(each.service, each.route.key): each.route for each in setting.restored.believed}
        self.remembered_orders = {each.service: each for each in setting.restored.overrides} | {None: self.lift}
        self.sure = {}
        self.wire = {}
        for each in setting.restored.believed if kept else ():
            self.wire |= {(each.route.key, to): each.route for to in goes_to(each.route, NEIGHBORS)}
        for each in self.followers.values():
            each.levels = set(range(each.bottom + 1)) if kept or self.held_by(each) else each.levels
            each.earned = {bool(self.held_by(each))}
            each.override = self.remembered_orders.get(each.rules.name)
            if kept:
                self.sure |= {route.key: False for route in each.rules.routes}
        self.engine = Engine(self.plan, setting.restored, self.now)
        self.table_before = dict(self.table)
        self.may_adopt = {each.rules.name for each in self.followers.values() if kept or self.held_by(each)}
        self.take(Start({"version": "test"}))

    def held_by(self, follower):
        return [route.key for route in follower.rules.routes if self.table.get(route.key) is not None]

    def begin_unmatched(self, followers):
        for follower in followers:
            for selector in follower.rules.selectors:
                if selector not in follower.unmatched and not self.matched(selector):
                    follower.unmatched[selector] = Verdict(follower.rules)

    def matched(self, selector):
        return [each for each in self.histories.values() if matches(selector, each.session)]

    def take(self, given):
        self.time(given)
        before = self.engine.snapshot(self.now).services
        effects = self.engine.handle(given, self.now)
        self.log.append((given, self.now))
        self.answers.append(effects)
        self.judge(given, effects, before)
        return effects

    def advance(self, seconds):
        """Time passes, and every deadline is kept, as the program does it."""
        target = self.now + seconds
        while (due := self.engine.next_deadline()) is not None and due <= target:
            assert due >= self.now
            self.now = due
            self.take(Tick())
            following = self.engine.next_deadline()
            assert following is None or following > due, "no deadline twice"
        self.now = target
        self.time(Tick())
        self.judge_table(Tick(), self.engine.snapshot(self.now), {})

    # --- the judge's own clock ----------------------------------------------------------------------------------

    @property
    def wall(self):
        return self.now + self.offset

    def time(self, given):
        """What time alone does: confirming looks not answered, silence, and what goes by the wall clock."""
        for follower in self.followers.values():
            for verdict in [*follower.verdicts.values(), *follower.unmatched.values()]:
                verdict.time(self.now)
        for id_, history in self.histories.items():
            since = max(history.heard, self.eyes_since)
            if history.state is State.MISSING:  # that it is gone its device says each time it answers
                since = max(since, self.device_heard[history.session.device])
            if history.state is not State.UNKNOWN and self.now >= since + STALE_AFTER[history.session.device]:
                self.falls_silent(id_, history)
            elif history.held and self.now >= self.eyes_since + STALE_AFTER[history.session.device]:
                self.may_be_silent(id_)
        self.never_heard()
        if not isinstance(given, Clock):
            self.review()

    def falls_silent(self, id_, history):
        blind = self.surely_blind(history.session.device)
        history.samples.append(Sample(self.now, State.UNKNOWN, counts=False))
        history.since = self.now
        for verdict in self.verdicts_on(id_):
            if verdict.reading(State.UNKNOWN) is Reading.DOWN:
                history.held = blind is not False
            verdict.unheard(blind=blind if verdict.window is None else False)

    def may_be_silent(self, id_):
        for verdict in self.verdicts_on(id_):
            if verdict.reading(State.UNKNOWN) is Reading.DOWN and not self.engine.snapshot(self.now).guard.blind:
                verdict.possible.add(False)

    def never_heard(self):
        every = list(self.device_heard.values())
        if len(every) > 1 and all(each is None for each in every):
            return  # we see nothing at all
        for follower in self.followers.values():
            for selector, verdict in follower.unmatched.items():
                heard = self.device_heard[selector.device]
                stale = STALE_AFTER[selector.device]
                if verdict.reading(State.UNKNOWN) is Reading.DOWN and self.now >= (heard or 0.0) + stale:
                    verdict.possible.add(False)

    def surely_blind(self, device):
        """Whether every device fell silent when this one did; None where that is a matter of moments."""
        mine, patience = self.device_heard[device], STALE_AFTER[device]
        others = [each for name, each in self.device_heard.items() if name != device and each is not None]
        if self.engine.snapshot(self.now).guard.blind:
            return True
        if self.now < mine + patience:
            return False
        if not others or any(each > mine + patience for each in others):
            return False
        return True if all(abs(each - mine) <= patience / 2 for each in others) else None

    def verdicts_on(self, id_):
        return [each.verdicts[id_] for each in self.followers.values() if id_ in each.verdicts]

    def review(self):
        if self.doubted_until is not None and self.now < self.doubted_until:
            return
        self.doubted_until = None
        for follower in self.followers.values():
            if follower.override is not None and passed(follower.override, self.wall):
                follower.override = None
                observed("an override expired")
        if self.lift is not None and passed(self.lift, self.wall):
            self.lift = None
        now_open = {each.name: each for each in self.plan.windows if is_open(each, self.wall)}
        if now_open != self.open:
            self.open = now_open
            self.let_windows_hold()

    def let_windows_hold(self):
        for id_, history in self.histories.items():
            reading = self.window_over(history.session)
            for verdict in self.verdicts_on(id_):
                if verdict.window is not reading:
                    verdict.open_window(reading, history.state)
        for follower in self.followers.values():
            for selector, verdict in follower.unmatched.items():
                reading = self.window_over_nothing(selector)
                if verdict.window is not reading:
                    verdict.open_window(reading, None)
            follower.windows = [each for each in self.open.values() if follower.rules.name in each.services]

    def windows_on(self, session):
        return [
            each
            for each in self.open.values()
            if session.device in each.devices or any(matches(one, session) for one in each.sessions)
        ]

    def window_over_nothing(self, selector):
        """The same for a selector that matches nothing: its device, all of its sessions, or just this."""
        meant = {selector, Selector(selector.device, "*")}
        return strongest(
            each.reading for each in self.open.values() if selector.device in each.devices or meant & {*each.sessions}
        )

    def window_over(self, session):
        return strongest(each.reading for each in self.windows_on(session))

    # --- what is seen -------------------------------------------------------------------------------------------

    def observation(self, session):
        ups, downs, last_up = self.counted[session.id]
        kind = self.setting.counters
        return Observation(
            session,
            self.router[session.id],
            ups=ups if kind in ("ups", "both") else None,
            downs=downs if kind == "both" else None,
            last_up=last_up if kind == "last_up" else None,
        )

    def there(self, device):
        return [each for each in self.setting.sessions if each.device == device]

    def answer_of(self, device, source=Source.SNMP_POLL):
        seen = [self.observation(each) for each in self.there(device) if self.router[each.id] is not State.MISSING]
        return Poll(device, tuple(seen), complete=True, source=source)

    def doubted(self, poll):
        """Whether all that a device has vanished at once, and not for `stale_after` yet."""
        if poll.observations:
            if self.empty_since.pop(poll.device, None) is not None:
                self.refilling[poll.device] = self.now + STALE_AFTER[poll.device]
            return False
        known = [each for each in self.histories.values() if each.session.device == poll.device]
        if not poll.complete or (known and all(each.state is State.MISSING for each in known)):
            return False
        return self.now < self.empty_since.setdefault(poll.device, self.now) + STALE_AFTER[poll.device]

    def poll(self, poll):
        self.time(poll)
        if self.engine.snapshot(self.now).guard.blind and poll.device in self.device_heard:
            self.eyes_since = self.now
        if poll.device in self.device_heard:
            self.device_heard[poll.device] = self.now
            if not self.doubted(poll):
                self.believe(poll)
        self.take(poll)

    def believe(self, poll):
        counts = poll.source is not Source.SNMP_LOOK
        for seen in poll.observations:
            self.see(seen, counts=counts)
        if self.now < self.refilling.get(poll.device, float("-inf")) or not poll.complete:
            return
        present = {each.session.id for each in poll.observations}
        for id_, history in list(self.histories.items()):
            if history.session.device == poll.device and id_ not in present:
                self.see(Observation(history.session, State.MISSING), counts=counts)
        gone = Sample(self.now, State.MISSING, counts)
        for follower in self.followers.values():
            for selector, verdict in follower.unmatched.items():
                if selector.device == poll.device and verdict.reading(State.MISSING) is not Reading.UP:
                    verdict.sample(gone)

    def see(self, seen, *, counts):
        history = self.histories.get(seen.session.id)
        if history is None:
            history = self.histories[seen.session.id] = History(seen.session)
            for follower in self.followers.values():
                self.follow(follower, history)
        sample = history.add(seen, self.now, counts=counts)
        sample.maintained = self.window_over(history.session) is not None
        for verdict in self.verdicts_on(seen.session.id):
            verdict.sample(sample)

    def follow(self, follower, history):
        meant = [each for each in follower.rules.selectors if matches(each, history.session)]
        if meant:
            for selector in meant:
                follower.unmatched.pop(selector, None)
            verdict = follower.verdicts[history.session.id] = Verdict(follower.rules)
            verdict.window = self.window_over(history.session)

    def becomes(self, session, state):
        counted = self.counted[session.id]
        before = self.router[session.id]
        if state is State.UP and before is not State.UP:
            counted[0] += 1
            counted[2] += 1
        if before is State.UP and state is not State.UP:
            counted[1] += 1
        self.router[session.id] = state

    # --- weather ------------------------------------------------------------------------------------------------

    @rule(data=st.data(), state=st.sampled_from(STATES))
    def a_session_changes(self, data, state):
        self.becomes(data.draw(st.sampled_from(self.setting.sessions)), state)

    @rule(data=st.data(), times=st.integers(1, 3))
    def a_session_flaps_unseen(self, data, times):
        session = data.draw(st.sampled_from(self.setting.sessions))
        state = self.router[session.id]
        for _ in range(times):
            self.becomes(session, State.DOWN)
            self.becomes(session, State.UP)
        if state is not State.UP:
            self.becomes(session, state)

    @rule(times=st.integers(2, 8))
    def calm_weather(self, times):
        for session in self.setting.sessions:
            self.becomes(session, State.UP)
        for _ in range(times):
            self.every_device_answers(1.0)
        for device in self.plan.devices:
            mine = [each for id_, each in self.histories.items() if id_.startswith(f"{device.name}/")]
            if all(
                one.possible == {True} and one.window is None
                for each in mine
                for one in self.verdicts_on(each.session.id)
            ):
                assert not self.pace.get(device.name), "asked more often, though nothing changes"

    @rule(times=st.integers(1, 4), seconds=st.sampled_from([0.125, 1.0]))
    def every_device_answers_for_a_while(self, times, seconds):
        for _ in range(times):
            self.every_device_answers(seconds)

    def every_device_answers(self, seconds):
        self.advance(seconds)
        for device in self.plan.devices:
            self.poll(self.answer_of(device.name))

    @rule(data=st.data(), state=st.sampled_from(STATES))
    def a_session_is_seen_to_change(self, data, state):
        """Seen twice, by polls: that is enough with `fall` up to 2."""
        session = data.draw(st.sampled_from(self.setting.sessions))
        self.becomes(session, state)
        for _ in range(2):
            self.poll(self.answer_of(session.device))
            self.advance(0.125)

    @rule(seconds=st.sampled_from(STEPS))
    def time_passes(self, seconds):
        self.advance(seconds)

    @rule(seconds=st.sampled_from(STEPS), data=st.data())
    def a_device_answers(self, seconds, data):
        self.advance(seconds)
        self.poll(self.answer_of(data.draw(st.sampled_from(self.plan.devices)).name))

    @rule(seconds=st.sampled_from([3.0, 9.0]), data=st.data())
    def only_one_device_answers(self, seconds, data):
        device = data.draw(st.sampled_from(self.plan.devices)).name
        for _ in range(int(seconds)):
            self.advance(1.0)
            self.poll(self.answer_of(device))

    @rule(data=st.data(), source=st.sampled_from([Source.SNMP_TRAP, Source.SNMP_POLL]))
    def a_device_tells_of_one_session(self, data, source):
        session = data.draw(st.sampled_from(self.setting.sessions))
        if self.router[session.id] is not State.MISSING:
            self.poll(Poll(session.device, (self.observation(session),), source=source))

    @precondition(lambda self: self.looks)
    @rule(seconds=st.sampled_from([0.0, 0.125, 0.5]), data=st.data())
    def a_look_is_answered(self, seconds, data):
        look = self.looks.pop(data.draw(st.integers(0, len(self.looks) - 1)))
        self.advance(seconds)
        poll = self.answer_of(look.device, Source.SNMP_LOOK)
        if look.session is not None:
            seen = tuple(each for each in poll.observations if each.session.id == look.session)
            poll = replace(poll, observations=seen, complete=False)
        self.poll(poll)

    @rule(data=st.data())
    def a_device_is_silent(self, data):
        device = data.draw(st.sampled_from(self.plan.devices)).name
        self.looks = [look for look in self.looks if look.device != device]
        self.empty_since.pop(device, None)
        self.take(Silence(device, "timeout"))

    @precondition(lambda self: self.commands)
    @rule(data=st.data(), outcome=st.sampled_from([Outcome.DONE, Outcome.DONE, Outcome.ERROR, Outcome.TIMEOUT]))
    def exabgp_answers(self, data, outcome):
        key, command = self.commands.pop(data.draw(st.integers(0, len(self.commands) - 1)))
        if self.latest[key] == command:
            self.sure[key] = outcome is Outcome.DONE
        self.take(Answer(command, outcome))

    @rule(data=st.data(), neighbor=st.sampled_from(NEIGHBORS), announced=st.booleans())
    def exabgp_sends_an_update(self, data, neighbor, announced):
        target = data.draw(st.sampled_from([each for each in TARGETS if isinstance(each, Route)]))
        self.take(Advertised(neighbor, target.prefix, announced))

    @rule(tells=st.booleans(), answers=st.booleans())
    def exabgp_names_its_neighbours(self, tells, answers):
        families = frozenset({"ipv4 unicast", "ipv6 unicast"})
        self.take(Peers(tuple(Peer(each, families=families, tells=tells) for each in NEIGHBORS), answers=answers))
        self.named = True

    @rule(neighbor=st.sampled_from(NEIGHBORS), state=st.sampled_from(["connected", "up", "down"]))
    def a_bgp_session_changes(self, neighbor, state):
        self.take(Neighbor(neighbor, state))

    @precondition(lambda self: self.named)
    @rule(neighbor=st.sampled_from(NEIGHBORS), complete=st.booleans())
    def exabgp_tells_what_it_holds(self, neighbor, complete):
        """What it was told, which leaves nothing to say."""
        effects = self.take(self.rib(neighbor, complete=complete))
        assert not [each for each in effects if isinstance(each, Withdraw | Announce)], "it holds what it was told"
        assert "reconciled" not in {each.event.event_type for each in effects if isinstance(each, Record)}

    @precondition(lambda self: self.named)
    @rule(data=st.data(), neighbor=st.sampled_from(NEIGHBORS), back=st.booleans())
    def exabgp_lost_or_kept_a_route(self, data, neighbor, back):
        """Something went wrong with a route that is not under way: it is put right in the same answer."""
        while self.commands:
            key, command = self.commands.pop(0)
            if self.latest[key] == command:
                self.sure[key] = True
            self.take(Answer(command, Outcome.DONE))
        settled = [key for key, command in self.latest.items() if command not in self.repairs]
        routes = [route for each in self.followers.values() for route in each.rules.routes]
        # Of the neighbours' own family: an IPv6 route with `next_hop = self` none of them can have.
        owned = {each.key: each for each in routes if isinstance(each, Route) and each.prefix.version == 4}
        keys = [key for key in settled if key in owned and ((key, neighbor) in self.wire) is not back]
        if not keys:
            return
        key = data.draw(st.sampled_from(keys))
        if back:
            self.wire[key, neighbor] = owned[key]
        else:
            del self.wire[key, neighbor]
        observed("put right")
        self.take(self.rib(neighbor, complete=True))

    def rib(self, neighbor, *, complete):
        held = [
            Held(neighbor, said) for (_, to), said in self.wire.items() if to == neighbor and isinstance(said, Route)
        ]
        return Rib(tuple(held), neighbor, self.last_event, complete)

    # --- our own eyes and clocks --------------------------------------------------------------------------------

    @rule(seconds=st.sampled_from([2.0, 5.0]))
    def our_loop_stalls(self, seconds):
        """Nothing ran for a while: no deadline was kept, and the first thing that runs says so."""
        self.now += seconds
        self.eyes_since = self.now
        self.empty_since.clear()  # what a device said before, it has not said since
        for history in self.histories.values():
            history.samples[-1].stalled = True
        for follower in self.followers.values():
            for id_ in self.histories:
                if id_ in follower.verdicts:
                    follower.verdicts[id_].stalled(self.now)
            # A selector that matches nothing has no session whose confirming look we could have missed.
        self.take(Stall(seconds))

    @rule(jump=st.sampled_from([0.125, -0.5, 2.0, 3.0, -30.0, 3600.0]))
    def the_clock_is_set(self, jump):
        self.advance(0.03125)
        self.offset += jump
        if abs(jump) > CLOCK_JUMP:
            self.doubted_until = self.now + CLOCK_SETTLES
        self.review()
        self.take(Clock(self.wall))
        self.advance(0.125 - 0.03125)

    @rule(seconds=st.sampled_from([20.0, 61.0]))
    def a_quiet_while(self, seconds):
        for _ in range(int(seconds) // 2):
            self.every_device_answers(2.0)

    # --- orders -------------------------------------------------------------------------------------------------

    @rule(data=st.data())
    def an_operator_orders(self, data):
        name = data.draw(st.sampled_from([*self.followers, "nobody"]))
        override = data.draw(overrides_of(name, self.wall))
        follower = self.followers.get(name)
        if follower is not None:
            follower.override = override
        self.take(Order(override))

    @rule(data=st.data())
    def an_operator_clears(self, data):
        name = data.draw(st.sampled_from(list(self.followers)))
        self.followers[name].override = None
        self.take(Clear(name, "noc", "done"))

    @rule(seconds=st.sampled_from([None, 2.0, 10.0]))
    def the_limit_is_lifted(self, seconds):
        expires = None if seconds is None else self.wall + seconds + OFF_GRID
        self.lift = Lift("noc", "works", self.wall, expires)
        self.take(Order(self.lift))

    @precondition(lambda self: self.lift is not None)
    @rule()
    def the_limit_holds_again(self):
        self.lift = None
        self.take(Clear(None, "noc"))

    @rule(data=st.data(), present=st.booleans())
    def a_file_disables(self, data, present):
        name = data.draw(st.sampled_from(list(self.followers)))
        if self.followers[name].rules.disable_file is not None:
            self.followers[name].disabled = present
        self.take(Disabled(name, present))

    # --- plans --------------------------------------------------------------------------------------------------

    @rule()
    def the_same_plan_comes_again(self):
        before = seen_now(self.engine, self.now)
        self.change_to(self.plan)
        effects = self.take(Reload(self.plan))
        if len(before.sessions) != len(self.histories):
            return  # one that vanished long ago was forgotten in this very moment
        assert not [each for each in effects if not isinstance(each, Record | Look)], "the same plan changes nothing"
        assert seen_now(self.engine, self.now) == before

    @rule(data=st.data(), takes_effect=st.booleans())
    def another_plan_comes(self, data, takes_effect):
        house = DEVICES[: len({each.device for each in self.setting.sessions} | {*self.device_heard})]
        plan = data.draw(plans(house, self.setting.sessions, self.plan))
        before, deadline = seen_now(self.engine, self.now), self.engine.next_deadline()
        preview = self.engine.preview(plan, self.now)
        assert seen_now(self.engine, self.now) == before, "a preview changes nothing"
        assert self.engine.next_deadline() == deadline
        if not takes_effect:
            return
        self.change_to(plan)
        effects = self.take(Reload(plan))
        made = [replace(each, command=0) for each in effects if isinstance(each, Withdraw | Announce)]
        if any(each.state is State.UNKNOWN for each in self.histories.values()):
            return  # ASSUMED (fault preview_of_what_is_unknown)
        assert tuple(made) == preview.commands, "a preview tells what a reload does"

    def change_to(self, plan):
        was, self.plan = self.plan, plan
        self.change_guard(was.guard, plan.guard)
        names = {each.name for each in plan.devices}
        self.histories = {id_: each for id_, each in self.histories.items() if each.session.device in names}
        for gone in {each.name for each in was.devices} - names:
            for kept in (self.empty_since, self.refilling, self.pace, self.device_heard):
                kept.pop(gone, None)
        self.device_heard = {each.name: self.device_heard.get(each.name) for each in plan.devices}
        self.looks = [look for look in self.looks if look.device in names]
        before, self.followers = self.followers, {each.name: Follower(each) for each in plan.services}
        self.may_adopt = set(self.adopted)
        for name, follower in self.followers.items():
            self.go_on(follower, before.get(name))
        if self.doubted_until is None:
            self.open = {each.name: each for each in plan.windows if is_open(each, self.wall)}
        else:
            # While the clock is doubted, nothing begins or ends by it.
            self.open = {each.name: each for each in plan.windows if each.name in self.open}
        self.let_windows_hold()

    def change_guard(self, was, guard):
        """What fell while there was no limit, or was over under a shorter window, may count against the new one."""
        none = was.max_withdrawn is None and was.max_share is None
        for fall in self.fallen:
            fall.surely = fall.surely and not none
            fall.surely = fall.surely and (guard.within <= was.within or self.now < fall.time + was.within)

    def go_on(self, follower, was):
        """A service of the same name goes on where it was; what it never followed it learns from what was seen."""
        news = was is None
        for id_, history in self.histories.items():
            if not any(matches(each, history.session) for each in follower.rules.selectors):
                continue
            old = was.verdicts.get(id_) if was is not None else None
            if old is None:
                news = True
                follower.verdicts[id_] = learned(follower.rules, history)
            else:
                follower.verdicts[id_] = carried_over(old, follower.rules, history)
        self.begin_unmatched([follower])
        for selector in follower.unmatched:
            if was is not None and selector in was.unmatched:
                follower.unmatched[selector] = carried_over(was.unmatched[selector], follower.rules, None)
            else:
                news = True
        if news:
            self.may_adopt.add(follower.rules.name)
            follower.levels = set(range(follower.bottom + 1))
            follower.earned = {True, False} if was is not None else {bool(self.held_by(follower))}
        if was is None:
            return
        same = (was.rules.steps, was.rules.require) == (follower.rules.steps, follower.rules.require)
        follower.levels = was.levels if same and not news else set(range(follower.bottom + 1))
        follower.earned = was.earned | ({True} if self.held_by(follower) else set())
        follower.override = was.override
        follower.disabled = was.disabled and follower.rules.disable_file is not None
        follower.drain_until, follower.drained, follower.return_until = was.drain_until, was.drained, was.return_until

    # --- what may be asked at any time --------------------------------------------------------------------------

    @rule(data=st.data())
    def somebody_asks_why(self, data):
        name = data.draw(st.sampled_from(list(self.followers)))
        before = seen_now(self.engine, self.now)
        said = self.engine.explain(name, self.now)
        assert said is not None
        assert said.announced == any(self.table.get(each.key) for each in self.followers[name].rules.routes)
        assert seen_now(self.engine, self.now) == before

    # --- the judge ----------------------------------------------------------------------------------------------

    def judge(self, given, effects, before):
        self.judge_effects(given, effects)
        snapshot = self.engine.snapshot(self.now)
        self.forget(snapshot)
        self.table_before = dict(self.table)
        self.table = {}
        for view in snapshot.services:
            for route in view.routes:
                if route.announced:
                    self.table[route.route.key] = route.route
        self.judge_wire(given)
        self.adopted = {each.service.name for each in snapshot.services if each.health == "undecided"}
        assert self.adopted <= self.may_adopt, "taken for adopted in the middle of the run"
        self.judge_table(given, snapshot, {each.service.name for each in before if each.announced})
        self.may_adopt = set(self.adopted)
        self.judge_sessions(snapshot)

    def judge_effects(self, given, effects):
        ranks = [rank(effect) for effect in effects]
        assert ranks == sorted(ranks), "withdraws, announces, looks, paces, forgotten sessions, records"
        self.forgotten = {each.session for each in effects if isinstance(each, Forget)}
        events = [effect.event for effect in effects if isinstance(effect, Record)]
        self.repairs |= {event.id for event in events if event.details.get("layer") == "repair"}
        decided = set()
        for effect in effects:
            if isinstance(effect, Withdraw | Announce):
                self.apply(given, effect)
            elif isinstance(effect, Look):
                assert effect.device in self.device_heard
                self.looks.append(effect)
            elif isinstance(effect, Pace):
                self.pace[effect.device] = effect.quick
            elif isinstance(effect, Remember):
                self.remembered[effect.service, effect.key] = effect.route
            elif isinstance(effect, RememberOrder):
                self.remembered_orders[effect.service] = effect.order
            elif isinstance(effect, Record):
                assert effect.event.event_type != "decision_failed", effect.event.details
                assert effect.event.id == self.last_event + 1
                self.last_event = effect.event.id
                assert effect.event.cause is None or 0 < effect.event.cause < effect.event.id
                if effect.event.details.get("overtaken"):
                    self.judge_overtaken(effect.event, effects)
                elif effect.event.event_type in {"route_announce", "route_withdraw"}:
                    decided.add(effect.event.id)
        commands = {each.command for each in effects if isinstance(each, Withdraw | Announce)}
        assert commands == decided
        looks = [(each.device, each.session) for each in effects if isinstance(each, Look)]
        assert len(looks) == len(set(looks))

    def judge_overtaken(self, event, effects):
        """Only an announce that a withdraw of the same breath follows stays unsent."""
        observed("overtaken")
        assert event.event_type == "route_announce"
        keys = {Route(ip_network(event.details["prefix"])).key} if "prefix" in event.details else set()
        keys |= {Watchdog(event.details["watchdog"]).key} if "watchdog" in event.details else set()
        followers = [each.command for each in effects if isinstance(each, Withdraw) and each.route.key in keys]
        assert max(followers, default=0) > event.id

    def apply(self, given, command):
        key = command.route.key
        to = goes_to(command.route, NEIGHBORS)
        # ExaBGP says a watchdog's routes by itself when it is reloaded, which nobody tells us.
        # And a withdraw that follows its announce too closely is said again, for ExaBGP may turn their order.
        again = command.command in self.repairs and isinstance(command, Withdraw)
        again = again or (isinstance(command.route, Watchdog) and command.command in self.repairs)
        if isinstance(command, Announce):
            same = all(self.wire.get((key, each)) == command.route for each in to)
            assert not (same and self.sure.get(key, True)) or again, "said twice"
            self.wire |= {(key, each): command.route for each in to}
            observed("announced")
        else:
            there = any((key, each) in self.wire for each in to)
            # A new ExaBGP has nothing of what was believed, but announces a watchdog's routes by itself.
            own = isinstance(given, Start | Reload) and isinstance(command.route, Watchdog)
            own = own or (isinstance(given, Start) and key in self.table)
            assert there or own or again or not self.sure.get(key, True), "taken back twice"
            for each in to:
                self.wire.pop((key, each), None)
            observed("withdrawn")
        self.sure[key] = True
        self.latest[key] = command.command
        self.commands.append((key, command.command))

    def judge_wire(self, given):
        """What ExaBGP was told, in the order of the telling, is what is believed and what is remembered."""
        wire = {(key, to): said for key, said in self.table.items() for to in goes_to(said, NEIGHBORS)}
        orphans = {key for key, sure in self.sure.items() if not sure} - self.table.keys()
        told = {place: said for place, said in self.wire.items() if place[0] not in orphans}
        assert told == wire, "what ExaBGP was told is not what is believed"
        remembered = {key: said for (_, key), said in self.remembered.items() if said is not None}
        assert remembered == self.table, "what is remembered is not what is believed"
        orders = {name: each for name, each in self.remembered_orders.items() if each is not None}
        ours = {each.rules.name: each.override for each in self.followers.values() if each.override is not None}
        assert orders == ours | ({None: self.lift} if self.lift is not None else {})

    def judge_sessions(self, snapshot):
        seen = {each.session.id: each.state for each in snapshot.sessions}
        assert seen == {id_: each.state for id_, each in self.histories.items()}
        for view in snapshot.services:
            follower = self.followers[view.service.name]
            legs = {each.session: each.counts_as for each in view.legs}
            words = {True: "up", False: "down", None: "undecided"}
            judged = {id_: each.possible for id_, each in follower.verdicts.items()}
            judged |= {str(selector): each.possible for selector, each in follower.unmatched.items()}
            assert legs.keys() == judged.keys()
            for label, possible in judged.items():
                assert legs[label] in {words[each] for each in possible}, f"{view.service.name}: {label}"
                narrowed = next(each for each in possible if words[each] == legs[label])
                place = {**follower.verdicts, **{str(each): one for each, one in follower.unmatched.items()}}[label]
                place.possible = {narrowed}
        if snapshot.guard.blind:
            assert len(self.device_heard) > 1
            heard = [each for each in self.device_heard.values() if each is not None]
            assert all(self.now >= each + min(STALE_AFTER.values()) / 2 for each in heard), "blind, and sees"

    def forget(self, snapshot):
        """Sessions whose rows vanished long ago may be gone now; what no session answers to any more is down."""
        present = {each.session.id for each in snapshot.sessions}
        for id_ in [id_ for id_ in self.histories if id_ not in present]:
            history = self.histories.pop(id_)
            assert id_ in self.forgotten
            assert history.state is State.MISSING
            assert self.now >= history.since + self.plan.forget_after
            observed("a session was forgotten")
            for follower in self.followers.values():
                if follower.verdicts.pop(id_, None) is None:
                    continue
                for selector in follower.rules.selectors:
                    if matches(selector, history.session) and not self.matched(selector):
                        gone = follower.unmatched[selector] = Verdict(follower.rules, (False,))
                        gone.window = self.window_over_nothing(selector)
        for history in self.histories.values():
            stale = STALE_AFTER[history.session.device]
            long_ago = history.since + self.plan.forget_after + 2 * stale
            if any(each.reading(State.MISSING) is not Reading.DOWN for each in self.verdicts_on(history.session.id)):
                continue  # somebody was told to hold on to it
            assert history.state is not State.MISSING or self.now <= long_ago, "never forgotten"

    # --- the routes ---------------------------------------------------------------------------------------------

    def judge_table(self, given, snapshot, announced):
        held = set(snapshot.guard.held)
        self.judge_limit(announced)
        for name, follower in self.followers.items():
            follower.judge(adopted=name in self.adopted)
            allowed = self.allowed(given, follower, held)
            if name in self.adopted and follower.order()[0] is not Action.ANNOUNCE:
                # Of what it had withdrawn it says nothing until its sessions were seen.
                before = self.was_said(follower)
                allowed = [{key: to if before[key] else None for key, to in each.items()} for each in allowed]
            said = {route.key: self.table.get(route.key) for route in follower.rules.routes}
            assert said in allowed, f"{name}: {said} is none of {allowed}"

    def judge_limit(self, announced):
        """Never more services withdrawn for their health within the window than the limit allows."""
        fell = {
            name
            for name, follower in self.followers.items()
            if name in announced and follower.order()[0] is None and not self.held_by(follower)
        }
        before = self.recently_fallen(surely=True)
        if self.limit() is not None and self.lift is None and fell - before:
            assert len(before | fell) <= self.limit(), "more withdrawn than the limit allows"
        self.fallen += [Fall(self.now, name) for name in fell]
        if fell:
            observed("withdrawn for its health")

    def was_said(self, follower):
        return {route.key: self.table_before.get(route.key) for route in follower.rules.routes}

    def begin_drain(self, follower):
        action, since = follower.order()
        if action is not Action.DRAIN:
            follower.drain_until = None
            return
        if follower.drain_until is None:
            before = self.was_said(follower).values()
            if not any(says_graceful(each) for each in before):
                since = None  # it begins now: no predecessor of ours began it
            elif isinstance(since, Window):
                since = opened(since, self.wall)
            begun = self.now if since is None else min(self.now, since - self.offset)
            follower.drain_until = max(self.now, begun + follower.rules.drain_time)
            follower.drained = not any(before)
            follower.return_until = None

    def allowed(self, given, follower, held):
        """The tables that are right for a service now."""
        name = follower.rules.name
        action, _ = follower.order()
        before = self.was_said(follower)
        self.begin_drain(follower)
        ways = follower.health()
        nothing = follower.as_announced(None)
        adopted = name in self.adopted
        if adopted:
            assert not follower.decided(), "adopted still, though all is decided"
        if action is Action.FREEZE:
            return [before]
        if action is Action.WITHDRAW:
            return [nothing]
        if action is Action.ANNOUNCE:
            follower.drained = False
            follower.return_until = None
            return [follower.as_configured()]
        kept = adopted and not any(before.values())
        if action is Action.DRAIN:
            return self.draining(follower, ways, before)
        if follower.drained:
            back = self.coming_back(follower, ways, kept=kept)
            if back is not None:
                return back
        return self.by_health(follower, ways, held, before)

    def draining(self, follower, ways, before):
        """Announced with GRACEFUL_SHUTDOWN for a while, then, or when its path is dead, withdrawn for good."""
        nothing = follower.as_announced(None)
        said = {route.key: self.table.get(route.key) for route in follower.rules.routes}
        over = follower.drained or self.now >= follower.drain_until or not any(before.values())
        draining = [follower.as_announced(way, graceful=True) for way in ways if way is not None]
        if over or (None in ways and said == nothing) or not draining:
            follower.drained = True
            observed("drained")
            return [nothing]
        return draining

    def coming_back(self, follower, ways, *, kept):
        """What a drain withdrew is announced with GRACEFUL_SHUTDOWN for a while; None: health alone decides."""
        if kept:
            follower.return_until = None
            return None
        if None not in ways and follower.rules.drain_time > 0:
            if follower.return_until is None:
                follower.return_until = self.now + follower.rules.drain_time
            if self.now < follower.return_until:
                observed("coming back from a drain")
                return [follower.as_announced(way, graceful=True) for way in ways]
        either = [follower.as_announced(way, graceful=graceful) for way in ways for graceful in (False, True)]
        either = either if None in ways and len(ways) > 1 else None
        said = [self.table.get(route.key) for route in follower.rules.routes]
        if either and follower.rules.drain_time > 0 and any(says_graceful(route) for route in said):
            # What could be either is by now: it comes back.
            follower.return_until = follower.return_until or self.now + follower.rules.drain_time
            return either
        follower.drained = False
        follower.return_until = None
        return either

    def by_health(self, follower, ways, held, before):
        name = follower.rules.name
        allowed = [follower.as_announced(way) for way in ways]
        if name in self.adopted:
            allowed.append(before)
        if name in held:
            assert None in ways, "held back, though nothing would have it withdrawn"
            assert self.lift is None, "held back by a limit that is lifted"
            assert len(self.recently_fallen(surely=False) - {name}) >= self.limit(), "held back within the limit"
            observed("the guard holds")
            return [before]
        return allowed

    def recently_fallen(self, *, surely):
        falls = [each for each in self.fallen if self.now < each.time + self.plan.guard.within]
        return {each.service for each in falls if each.surely or not surely}

    def limit(self):
        guard, limits = self.plan.guard, []
        if guard.max_withdrawn is not None:
            limits.append(guard.max_withdrawn)
        if guard.max_share is not None:
            limits.append(max(1, int(guard.max_share * len(self.plan.services) + 1e-9)))
        return min(limits) if limits else None

    def teardown(self):
        """The same log through a new engine gives the same effects, and ends the same; then all is taken back."""
        if not hasattr(self, "engine"):
            return
        again = Engine(self.setting.plan, self.setting.restored, 0.0)
        for (given, now), effects in zip(self.log, self.answers, strict=True):
            assert again.handle(given, now) == effects
        assert seen_now(again, self.now) == seen_now(self.engine, self.now)
        for effect in self.engine.handle(Stop("the end", withdraw=True), self.now):
            if isinstance(effect, Withdraw | Announce):
                self.apply(Start(), effect)
        assert not self.wire


def seen_now(engine, now):
    """A snapshot without what it has only as of the last change: when a session was heard."""
    snapshot = engine.snapshot(now)
    sessions = tuple(
        replace(each, heard=0.0, services=tuple(sorted(each.services)))
        for each in sorted(snapshot.sessions, key=lambda each: each.session.id)
    )
    services = [replace(each, legs=tuple(sorted(each.legs, key=lambda leg: leg.session))) for each in snapshot.services]
    return replace(snapshot, sessions=sessions, services=tuple(services))


def strongest(readings):
    """Down before hold."""
    found = set(readings)
    return Reading.DOWN if Reading.DOWN in found else Reading.HOLD if found else None


def says_graceful(said):
    return isinstance(said, Route) and GRACEFUL_SHUTDOWN in said.communities


def passed(order, wall):
    return order.expires is not None and order.expires <= wall


def learned(rules, history):
    """What a service makes of a session that it follows only now: anything that what was seen does not exclude."""
    verdict = Verdict(rules)
    for sample in history.samples:
        if sample.state is State.UNKNOWN:
            verdict.unheard(blind=None)
        else:
            verdict.sample(sample)
        if sample.state is not State.UP or sample.stalled:
            # What is only read as up is no Up that began before anybody read it so; and what we slept through, none.
            verdict.break_run()
    verdict.possible |= {None}
    polls = [sample.state for sample in history.samples if sample.counts]
    if all(state in BAD for state in polls[-max(2, rules.fall) :]):
        verdict.possible |= {False}
    verdict.bad, verdict.confirm_until = [], None
    verdict.loose = True
    return verdict


def carried_over(old, rules, history):
    """A verdict under other rules; of what is unknown no sample will tell what they make of it."""
    before, old.rules = old.reading(State.UNKNOWN), rules
    after = old.reading(State.UNKNOWN)
    if history is not None and history.state is State.UNKNOWN and before is not after and old.window is None:
        old.unheard(blind=None if after is Reading.DOWN else False)
        history.held = history.held or after is Reading.DOWN
    return old


def rank(effect):
    kinds = (Withdraw, Announce, Look, Ask, Pace, Forget, (Record, Remember, RememberOrder))
    return next(place for place, kind in enumerate(kinds) if isinstance(effect, kind))


TestOrders = OrdersMachine.TestCase
