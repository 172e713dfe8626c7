"""Random houses, random weather: what must hold of the engine whatever happens, judged by a naive oracle.

The oracle keeps every sample of every session and knows the rules only as sentences ("`rise` polls and `hold_up`
seconds of unbroken Up"); it shares no code with the engine. Where a service reads doubtful states in its own way, the
oracle has no opinion; all that does not depend on readings still holds.
"""

from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network

from hypothesis import event as observed
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from exabgp_bfd.core.engine import Engine
from exabgp_bfd.core.model import (
    Advertised,
    Announce,
    Answer,
    Ask,
    Believed,
    Device,
    Look,
    Neighbor,
    Note,
    Notification,
    Observation,
    Outcome,
    Pace,
    Plan,
    Poll,
    Reading,
    Record,
    Remember,
    Restored,
    Route,
    Selector,
    Service,
    Session,
    Silence,
    Source,
    Start,
    State,
    Tick,
    Webhook,
    Withdraw,
)

DEVICES = ("edge1", "edge2", "edge3")
PREFIXES = [ip_network(f"192.0.2.{number}/32") for number in range(8)]
ORPHAN = ip_network("198.18.0.0/24")
NEIGHBORS = [ip_address("203.0.113.1"), ip_address("203.0.113.2")]
BAD = {State.DOWN, State.INIT, State.FAILING}
ON_THE_BOX = [State.UP, State.UP, State.UP, State.DOWN, State.DOWN, State.INIT, State.FAILING, State.ADMIN_DOWN]
# All exact in binary, so that deadlines are met to the bit.
STEPS = [0.0, 0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 11.0]
LAST_EVENT = 100


@dataclass
class Setting:
    """What one example is about: the plan, the sessions that exist, and what a predecessor left."""

    plan: Plan
    sessions: list[Session]
    begins: dict[str, State]
    restored: Restored


@st.composite
def services(draw, number, devices, sessions):
    choices = [Selector(device, "*") for device in devices]
    choices += [Selector(session.device, session.name) for session in sessions]
    choices += [Selector(devices[0], "ghost")]
    selectors = draw(st.lists(st.sampled_from(choices), min_size=1, max_size=4, unique=True))
    readings = {}
    if draw(st.integers(0, 3)) == 0:
        names = ("on_admin_down", "on_missing", "on_unknown")
        readings = {name: draw(st.sampled_from(Reading)) for name in names}
    prefixes = PREFIXES[2 * number : 2 * number + draw(st.integers(1, 2))]
    return Service(
        name=f"service{number}",
        routes=tuple(Route(prefix) for prefix in prefixes),
        selectors=tuple(selectors),
        require=draw(st.sampled_from([1, 1, 2, 3, "all"])),
        rise=draw(st.integers(1, 3)),
        fall=draw(st.integers(1, 3)),
        hold_up=draw(st.sampled_from([0.0, 1.0, 4.0])),
        confirm=draw(st.booleans()),
        confirm_timeout=draw(st.sampled_from([0.25, 0.5])),
        **readings,
    )


@st.composite
def settings_of_an_example(draw):
    devices = DEVICES[: draw(st.integers(1, 3))]
    homes = draw(st.lists(st.sampled_from(devices), min_size=1, max_size=4))
    sessions = [Session(device, f"s{number}") for number, device in enumerate(homes)]
    planned = tuple(draw(services(number, devices, sessions)) for number in range(draw(st.integers(1, 4))))
    stale_after = draw(st.sampled_from([3.0, 10.0]))
    plan = Plan(tuple(Device(name, stale_after) for name in devices), planned, draw(st.booleans()))
    begins = {session.id: draw(st.sampled_from([State.UP, *ON_THE_BOX, State.MISSING])) for session in sessions}
    return Setting(plan, sessions, begins, draw(predecessors(planned)))


@st.composite
def predecessors(draw, planned):
    fate = draw(st.sampled_from(["none", "kept", "lost", "expired"]))
    if fate == "none":
        return Restored()
    held = [
        Believed(service.name, Route(route.prefix, med=draw(st.sampled_from([None, None, None, 5]))), number + 1)
        for number, service in enumerate(planned)
        for route in service.routes
        if draw(st.booleans())
    ]
    if draw(st.booleans()):
        held.append(Believed("gone", Route(ORPHAN), 50))
    return Restored(LAST_EVENT, tuple(held), rib_kept=fate == "kept", expired=fate == "expired")


@dataclass
class Sample:
    time: float
    state: State
    counts: bool


@dataclass
class History:
    """All samples of one session, staleness among them."""

    samples: list[Sample] = field(default_factory=list)
    heard: float = 0.0

    @property
    def stale(self):
        return self.samples[-1].state is State.UNKNOWN

    def earned(self, service):
        """The last sample at which this session had `rise` polls and `hold_up` seconds of unbroken Up, None: never."""
        run: list[Sample] = []
        last = None
        for place, sample in enumerate(self.samples):
            run = [*run, sample] if sample.state is State.UP else []
            polls = [each for each in run if each.counts]
            if len(polls) >= service.rise and sample.time - polls[service.rise - 1].time >= service.hold_up:
                last = place
        return last

    def bad_since_up(self):
        """The bad samples since the last Up, whatever said nothing in between."""
        tail: list[Sample] = []
        for sample in self.samples:
            tail = [] if sample.state is State.UP else [*tail, sample]
        return [sample for sample in tail if sample.state in BAD or sample.state is State.MISSING]

    def surely_down(self, service):
        """Seen bad twice, and `fall` times by what came by itself (the first counts, whoever asked for it)."""
        return enough_bad(self.bad_since_up(), service)

    def speaks_against(self, service):
        """Whether it was seen bad, at least `fall` times and a vanished row twice, since it was last seen up."""
        bad = self.bad_since_up()
        return counted(bad) >= service.fall and (any(each.state in BAD for each in bad) or len(bad) >= 2)

    def ever_spoke_against(self, service):
        """The same since it last counted as up, whatever was seen in between."""
        first = self.earned(service)
        since = self.samples[0 if first is None else first + 1 :]
        return any(each.state in BAD for each in since) or sum(each.state is State.MISSING for each in since) >= 2

    def surely_up(self, service):
        """Up now, and counting as up."""
        return bool(self.samples) and self.earned(service) == len(self.samples) - 1

    def may_count_as_up(self, service):
        """Earned once, and never surely down since."""
        first = self.earned(service)
        if first is None:
            return False
        bad: list[Sample] = []
        for sample in self.samples[first + 1 :]:
            if sample.state is State.UP:
                bad = []
            elif sample.state in BAD or sample.state is State.MISSING:
                bad.append(sample)
            if enough_bad(bad, service):
                return False
        return True


def counted(bad):
    """How many of these bad samples count towards `fall`: the first, and every one that no look asked for."""
    return sum(sample.counts or place == 0 for place, sample in enumerate(bad))


def enough_bad(bad, service):
    """Whether so many bad samples leave no doubt."""
    return len(bad) >= 2 and counted(bad) >= service.fall


class Oracle:
    """Samples by session, and how often a complete answer held nothing for a selector."""

    def __init__(self, plan):
        self.stale_after = {device.name: device.stale_after for device in plan.devices}
        self.histories: dict[str, History] = {}
        self.empty_since: dict[str, float] = {}
        self.refilling: dict[str, float] = {}
        self.answered: dict[str, float] = {}
        self.eyes_since = float("-inf")
        """When a device answered after all had fallen silent: from then on each has its time."""
        self.misses = {(service.name, selector): 0 for service in plan.services for selector in service.selectors}

    def sample(self, session, state, now, *, counts):
        history = self.histories.setdefault(session.id, History())
        history.samples.append(Sample(now, state, counts))
        history.heard = now

    def doubted(self, poll, now):
        """Whether all that a device has vanished at once, and not for `stale_after` yet."""
        if any(seen.state is not State.MISSING for seen in poll.observations):
            if self.empty_since.pop(poll.device, None) is not None:
                self.refilling[poll.device] = now + self.stale_after[poll.device]
            return False
        known = [history for id_, history in self.histories.items() if id_.startswith(f"{poll.device}/")]
        if not poll.complete or (known and all(each.samples[-1].state is State.MISSING for each in known)):
            return False
        return now < self.empty_since.setdefault(poll.device, now) + self.stale_after[poll.device]

    def poll(self, poll, now):
        self.answered[poll.device] = now
        if self.doubted(poll, now):
            return
        counts = poll.source is not Source.SNMP_LOOK
        refilling = now < self.refilling.get(poll.device, 0.0)
        for seen in poll.observations:
            if not (refilling and seen.state is State.MISSING):
                self.sample(seen.session, seen.state, now, counts=counts)
        if refilling or not poll.complete:
            return
        present = {seen.session.id for seen in poll.observations}
        for session in list(self.histories):
            device, name = session.split("/")
            if device == poll.device and session not in present:
                self.sample(Session(device, name), State.MISSING, now, counts=counts)
        for name, selector in self.misses:
            if selector.device == poll.device and not self.matched(selector):
                self.misses[name, selector] += 1

    def matched(self, selector):
        mine = [each for each in self.histories if each.startswith(f"{selector.device}/")]
        return [each for each in mine if selector.pattern in {"*", each.split("/")[1]}]

    def time(self, now):
        """Whatever was not heard for `stale_after` is unknown."""
        for session, history in self.histories.items():
            device = session.split("/")[0]
            heard = max(history.heard, self.eyes_since)
            if history.samples[-1].state is State.MISSING:  # that it is gone its device says each time it answers
                heard = max(heard, self.answered.get(device, heard))
            if not history.stale and now - heard >= self.stale_after[device]:
                history.samples.append(Sample(now, State.UNKNOWN, counts=False))

    def legs(self, service):
        """The sessions of a service, and its selectors that have matched none."""
        found: dict[str, History] = {}
        unmatched = []
        for selector in service.selectors:
            matched = self.matched(selector)
            found.update({each: self.histories[each] for each in matched})
            if not matched:
                unmatched.append(selector)
        return list(found.values()), unmatched

    def needed(self, service):
        legs, unmatched = self.legs(service)
        return max(1, len(legs) + len(unmatched)) if service.require == "all" else service.require


def has_default_readings(service):
    plain = Service("", (), ())
    names = ("on_admin_down", "on_missing", "on_unknown")
    return all(getattr(service, name) is getattr(plain, name) for name in names)


class EngineMachine(RuleBasedStateMachine):
    """Plays a house through an engine and judges every answer."""

    # --- building, and the one way in ---------------------------------------------------------------------------

    @initialize(setting=settings_of_an_example())
    def build(self, setting):
        self.setting = setting
        self.services = {service.name: service for service in setting.plan.services}
        self.configured = {route.prefix for service in setting.plan.services for route in service.routes}
        self.router = {session.id: setting.begins[session.id] for session in setting.sessions}
        self.now = 0.0
        self.observations = {}
        self.log = []
        self.answers = []
        self.looks = []
        self.commands = []
        self.last_event = setting.restored.last_event
        self.oracle = Oracle(setting.plan)
        kept = setting.restored.rib_kept
        held = [] if setting.restored.expired else setting.restored.believed
        self.start_may_announce = {entry.route.prefix for entry in held}
        self.table = {entry.route.prefix: entry.route for entry in held if kept}
        self.sure = dict.fromkeys([*self.configured, ORPHAN], not kept)
        self.remembered = {entry.route.key: entry.route for entry in setting.restored.believed}
        self.latest = {}
        self.engine = Engine(setting.plan, setting.restored, self.now)
        self.adopted = self.adopted_now()
        self.take(Start({"version": "test"}))

    def adopted_now(self):
        return {view.service.name for view in self.engine.snapshot(self.now).services if view.adopted}

    def take(self, given):
        effects = self.engine.handle(given, self.now)
        self.log.append((given, self.now))
        self.answers.append(effects)
        self.judge(given, effects)
        self.adopted = self.adopted_now()

    def advance(self, seconds):
        """Time passes, and every deadline is kept, as the program does it."""
        target = self.now + seconds
        while (due := self.engine.next_deadline()) is not None and due <= target:
            assert due >= self.now
            self.now = due
            self.oracle.time(self.now)
            self.take(Tick())
            following = self.engine.next_deadline()
            assert following is None or following > due
        self.now = target
        self.oracle.time(self.now)

    # --- what happens -------------------------------------------------------------------------------------------

    def answer_of(self, device, *, source=Source.SNMP_POLL, cause=None):
        there = [session for session in self.setting.sessions if session.device == device]
        seen = [self.seen(each) for each in there if self.router[each.id] is not State.MISSING]
        return Poll(device, tuple(seen), complete=True, source=source, cause=cause)

    def seen(self, session):
        """What is seen of a session: the same thing again where it says the same, as the poller has it."""
        state = self.router[session.id]
        return self.observations.setdefault((session.id, state), Observation(session, state))

    def poll(self, poll):
        if self.engine.snapshot(self.now).guard.blind:
            self.oracle.eyes_since = self.now
        self.oracle.poll(poll, self.now)
        self.take(poll)

    @rule(data=st.data(), state=st.sampled_from([*ON_THE_BOX, State.MISSING]))
    def a_session_changes(self, data, state):
        self.router[data.draw(st.sampled_from(self.setting.sessions)).id] = state

    @rule(newcomers=st.booleans())
    def calm_weather(self, newcomers):
        """All that is there comes up, and stays up until it must count; what was never there may come, or not."""
        for session in self.setting.sessions:
            if newcomers or session.id in self.oracle.histories:
                self.router[session.id] = State.UP
        for _ in range(8):
            self.every_device_answers()

    def every_device_answers(self):
        self.advance(1.0)
        for device in self.setting.plan.devices:
            self.poll(self.answer_of(device.name))

    @rule(
        data=st.data(),
        state=st.sampled_from([*ON_THE_BOX, State.MISSING]),
        back_after=st.sampled_from([0.0, 0.125, 0.25]),
        then=st.sampled_from(STEPS),
    )
    def a_blip(self, data, state, back_after, then):
        """One sample of another state, and the next is up again."""
        session = data.draw(st.sampled_from(self.setting.sessions))
        self.router[session.id] = state
        self.poll(self.answer_of(session.device))
        self.router[session.id] = State.UP
        self.advance(back_after)
        self.poll(self.answer_of(session.device, source=Source.SNMP_LOOK))
        self.advance(then)

    @rule(seconds=st.sampled_from(STEPS))
    def time_passes(self, seconds):
        self.advance(seconds)

    @rule(seconds=st.sampled_from(STEPS), data=st.data())
    def a_device_answers_in_full(self, seconds, data):
        self.advance(seconds)
        self.poll(self.answer_of(data.draw(st.sampled_from(self.setting.plan.devices)).name))

    @rule(times=st.integers(1, 7) | st.just(20))
    def every_device_answers_every_second(self, times):
        for _ in range(times):
            self.every_device_answers()

    @rule(seconds=st.sampled_from(STEPS), data=st.data(), source=st.sampled_from([Source.SNMP_POLL, Source.SNMP_TRAP]))
    def a_device_tells_of_one_session(self, seconds, data, source):
        self.advance(seconds)
        session = data.draw(st.sampled_from(self.setting.sessions))
        state = self.router[session.id]
        seen = () if state is State.MISSING else (self.seen(session),)
        self.poll(Poll(session.device, seen, source=source))

    @precondition(lambda self: self.looks)
    @rule(seconds=st.sampled_from([0.0, 0.125, 0.5]), data=st.data(), knows_why=st.booleans())
    def a_look_is_answered(self, seconds, data, knows_why):
        look = self.looks.pop(data.draw(st.integers(0, len(self.looks) - 1)))
        self.advance(seconds)
        cause = look.cause if knows_why else None
        poll = self.answer_of(look.device, source=Source.SNMP_LOOK, cause=cause)
        if look.session is not None:
            seen = tuple(each for each in poll.observations if each.session.id == look.session)
            poll = Poll(look.device, seen, complete=False, source=Source.SNMP_LOOK, cause=cause)
        self.poll(poll)

    @rule(seconds=st.sampled_from(STEPS), data=st.data())
    def a_device_is_silent(self, seconds, data):
        self.advance(seconds)
        device = data.draw(st.sampled_from(self.setting.plan.devices)).name
        self.looks = [look for look in self.looks if look.device != device]
        self.oracle.empty_since.pop(device, None)
        self.take(Silence(device, "timeout"))

    @precondition(lambda self: self.commands)
    @rule(data=st.data(), outcome=st.sampled_from([Outcome.DONE, Outcome.DONE, Outcome.ERROR, Outcome.TIMEOUT]))
    def exabgp_answers(self, data, outcome):
        prefix, command = self.commands.pop(data.draw(st.integers(0, len(self.commands) - 1)))
        if self.latest[prefix] == command:
            self.sure[prefix] = outcome is Outcome.DONE
        self.take(Answer(command, outcome))

    @rule(prefix=st.sampled_from(PREFIXES), neighbor=st.sampled_from(NEIGHBORS), announced=st.booleans())
    def exabgp_sends_an_update(self, prefix, neighbor, announced):
        self.take(Advertised(neighbor, prefix, announced))

    @rule(neighbor=st.sampled_from(NEIGHBORS), state=st.sampled_from(["up", "down"]))
    def a_neighbor_changes(self, neighbor, state):
        self.take(Neighbor(neighbor, state))

    @rule()
    def something_is_noted(self):
        self.take(Note("store_down", {}))

    @rule(
        data=st.data(),
        effect=st.sampled_from(["record", "probe", "observe", "observe"]),
        state=st.sampled_from(["up", "down", "init", "admin_down", "missing", "melted", 7, None, ["down"], {"a": 1}]),
        named=st.booleans(),
    )
    def a_webhook_comes(self, data, effect, state, named):
        session = data.draw(st.sampled_from(self.setting.sessions))
        evidence = {"state": state, "session": session.name} if named else {"state": state}
        if effect == "observe" and state in ("up", "down", "init", "admin_down"):
            there = [each for each in self.setting.sessions if each.device == session.device]
            for each in [session] if named else there:
                if each.id in self.oracle.histories:
                    self.oracle.sample(each, State(state), self.now, counts=True)
        self.take(Webhook(session.device, "link_down", evidence, effect))

    @rule(data=st.data(), said=st.sampled_from([State.DOWN, State.DOWN, State.UP, None]), sure=st.booleans())
    def a_device_notifies(self, data, said, sure):
        device = data.draw(st.sampled_from(self.setting.plan.devices)).name
        there = [session for session in self.setting.sessions if session.device == device]
        named = data.draw(st.lists(st.sampled_from(there), unique=True)) if there else []
        if sure and said is State.DOWN:
            for session in named:
                if session.id in self.oracle.histories:
                    self.oracle.sample(session, said, self.now, counts=True)
        self.take(Notification(device, said, tuple(session.id for session in named), sure))

    # --- the judge ----------------------------------------------------------------------------------------------

    def judge(self, given, effects):
        commands = [effect for effect in effects if isinstance(effect, Withdraw | Announce)]
        ranks = [rank(effect) for effect in effects]
        assert ranks == sorted(ranks), "withdraws, announces, looks, paces, records"
        prefixes = [command.route.prefix for command in commands]
        assert len(prefixes) == len(set(prefixes)), "one command a prefix and input"
        decides = isinstance(given, Start | Poll | Tick | Webhook) or (isinstance(given, Notification) and given.sure)
        assert not commands or decides, "only samples and time decide"
        self.judge_records(effects, commands)
        events = [effect.event for effect in effects if isinstance(effect, Record)]
        # What is said again for ExaBGP's own order decides nothing.
        repairs = {event.id for event in events if event.details.get("layer") == "repair"}
        for command in commands:
            if command.command in repairs:
                assert isinstance(command, Withdraw)
                assert self.table.get(command.route.prefix) is None
            else:
                self.judge_command(given, command)
            self.apply(command)
        for effect in effects:
            if isinstance(effect, Remember):
                self.remembered[effect.key] = effect.route
            elif isinstance(effect, Look):
                assert effect.cause is None or effect.cause <= self.last_event
                self.looks.append(effect)

    def judge_records(self, effects, commands):
        kinds = {}
        for effect in effects:
            if isinstance(effect, Record):
                assert effect.event.id == self.last_event + 1
                self.last_event = effect.event.id
                assert effect.event.cause is None or 0 < effect.event.cause < effect.event.id
                kinds[effect.event.id] = effect.event.event_type
        decided = {id_ for id_, kind in kinds.items() if kind in {"route_announce", "route_withdraw"}}
        assert {command.command for command in commands} == decided

    def judge_command(self, given, command):
        service = self.services.get(command.service)
        believed = self.table.get(command.route.prefix)
        if isinstance(command, Announce):
            assert not (self.sure[command.route.prefix] and believed == command.route), "said twice"
            if isinstance(given, Start):
                assert command.route.prefix in self.start_may_announce
            elif service is not None and has_default_readings(service) and believed != command.route:
                self.judge_earned(service)  # what is believed may be said again, when it was not taken
            observed("announced")
        else:
            assert not (self.sure[command.route.prefix] and believed is None), "taken back twice"
            if isinstance(given, Start):
                assert command.route.prefix == ORPHAN
            elif service is None:
                assert command.route.prefix == ORPHAN, "only what we owe nobody may be taken back without a service"
            elif has_default_readings(service) and believed is not None:
                self.judge_lost(service)
            observed("withdrawn")

    def judge_earned(self, service):
        legs, _ = self.oracle.legs(service)
        carrying = sum(history.may_count_as_up(service) for history in legs)
        assert carrying >= self.oracle.needed(service), "announced without being earned"

    def judge_lost(self, service):
        legs, unmatched = self.oracle.legs(service)
        twice = max(2, service.fall)
        if any(self.oracle.misses[service.name, selector] >= twice for selector in unmatched):
            return
        if any(history.speaks_against(service) for history in legs):
            return
        # What was adopted may fall with the last session heard, long after another was seen down and is rising again;
        # or because a device turns out to have fewer sessions than are needed.
        assert service.name in self.adopted, "withdrawn, and no session speaks against it"
        missed = any(self.oracle.misses[service.name, selector] >= twice for selector in service.selectors)
        too_few = not unmatched and len(legs) < self.oracle.needed(service)
        assert missed or too_few or any(history.ever_spoke_against(service) for history in legs)

    def apply(self, command):
        prefix = command.route.prefix
        if isinstance(command, Announce):
            self.table[prefix] = command.route
        else:
            self.table.pop(prefix, None)
        self.sure[prefix] = True
        self.latest[prefix] = command.command
        self.commands.append((prefix, command.command))

    # --- what always holds --------------------------------------------------------------------------------------

    @invariant()
    def what_is_believed_is_what_was_said(self):
        views = self.engine.snapshot(self.now).services
        believed = {route.route.prefix for view in views for route in view.routes if route.announced}
        assert believed == set(self.table)

    @invariant()
    def what_is_remembered_is_what_was_said(self):
        kept = {key: route for key, route in self.remembered.items() if route is not None}
        assert kept == {str(prefix): route for prefix, route in self.table.items()}

    @invariant()
    def counts_are_what_the_legs_say(self):
        for view in self.engine.snapshot(self.now).services:
            counts = [leg.counts_as for leg in view.legs]
            assert (view.up, view.undecided) == (counts.count("up"), counts.count("undecided"))
            legs, unmatched = self.oracle.legs(view.service)
            assert len(view.legs) == len(legs) + len(unmatched)

    @invariant()
    def a_session_is_what_was_seen_last(self):
        seen = {view.session.id: view.state for view in self.engine.snapshot(self.now).sessions}
        assert seen == {name: history.samples[-1].state for name, history in self.oracle.histories.items()}

    @invariant()
    def nobody_is_blind_who_sees(self):
        if self.engine.snapshot(self.now).guard.blind:
            stale_after = self.oracle.stale_after
            assert len(stale_after) > 1
            assert all(self.now >= heard + min(stale_after.values()) / 2 for heard in self.oracle.answered.values())

    @invariant()
    def a_dead_path_is_withdrawn_and_a_living_one_announced(self):
        for view in self.engine.snapshot(self.now).services:
            service = view.service
            if not has_default_readings(service):
                continue
            legs, unmatched = self.oracle.legs(service)
            needed = self.oracle.needed(service)
            alive = sum(not history.surely_down(service) for history in legs) + len(unmatched)
            if alive < needed and (service.require == "all" or not view.adopted):
                assert not view.announced, "dead, and still announced"
            if sum(history.surely_up(service) for history in legs) >= needed:
                assert view.announced, "alive, and not announced"

    def teardown(self):
        """The same log through a new engine gives the same effects, and ends the same."""
        if not hasattr(self, "engine"):
            return
        again = Engine(self.setting.plan, self.setting.restored, 0.0)
        for (given, now), effects in zip(self.log, self.answers, strict=True):
            assert again.handle(given, now) == effects
        ended, replayed = self.engine.snapshot(self.now), again.snapshot(self.now)
        assert (replayed.services, replayed.devices) == (ended.services, ended.devices)


def rank(effect):
    kinds = (Withdraw, Announce, Look, Ask, Pace, (Record, Remember))
    return next(place for place, kind in enumerate(kinds) if isinstance(effect, kind))


TestEngine = EngineMachine.TestCase
