"""Whatever happens meanwhile: in the end ExaBGP holds what was announced by hand last, and nothing else."""

from dataclasses import dataclass, field
from ipaddress import ip_network

from hypothesis import given
from hypothesis import strategies as st

from exabgp_bfd.core.engine import Engine
from exabgp_bfd.core.model import (
    BY_HAND,
    Announce,
    Answer,
    Believed,
    ByHand,
    Device,
    Order,
    Outcome,
    Plan,
    Reload,
    Remember,
    RememberOrder,
    Restored,
    Route,
    Selector,
    Service,
    Start,
    Stop,
    Tick,
    Withdraw,
)

WALL = 1_795_176_000.0
PREFIXES = [ip_network(f"203.0.113.{number}/32") for number in range(3)]
TAKEN = ip_network("203.0.113.9/32")

says = st.tuples(st.just("say"), st.booleans(), st.sampled_from([*PREFIXES, TAKEN]), st.integers(0, 2))
happens = st.one_of(
    says,
    says,
    st.tuples(st.just("pass"), st.sampled_from([0.1, 0.5, 3.0, 100.0])),
    st.tuples(st.just("answers"), st.sampled_from(list(Outcome))),
    st.tuples(st.just("restart"), st.sampled_from(["killed", "stopped", "withdrawn", "exabgp too", "long ago"])),
    st.tuples(st.just("reload"), st.booleans()),
)


def plan(taken):
    service = Service("dns", (Route(TAKEN),), (Selector("edge1", "*"),))
    return Plan((Device("edge1"),), (service,) if taken else ())


@dataclass
class World:
    """An engine, the journal that it would have, and an ExaBGP that answers when it is told to."""

    now: float = 0.0
    taken: bool = False
    held: dict = field(default_factory=dict)
    believed: dict = field(default_factory=dict)
    orders: dict = field(default_factory=dict)
    unanswered: list = field(default_factory=list)
    outcome: Outcome = Outcome.DONE
    events: int = 0

    def __post_init__(self):
        self.begin(Restored(wall=WALL))

    def begin(self, restored):
        self.engine = Engine(plan(self.taken), restored, self.now)
        self.give(Start())

    def give(self, event):
        for effect in self.engine.handle(event, self.now):
            match effect:
                case Announce() | Withdraw():
                    self.events = max(self.events, effect.command)
                    self.unanswered.append(effect)
                case Remember(service, key, route, number):
                    self.believed.pop(key, None)
                    if route is not None:
                        self.believed[key] = Believed(service, route, number)
                case RememberOrder(subject, order):
                    assert subject.startswith(f"{BY_HAND} ")
                    self.orders.pop(subject, None)
                    if order is not None:
                        self.orders[subject] = order

    def answer(self):
        """ExaBGP does one after the other, and takes what `outcome` says: nothing where it is an error."""
        commands, self.unanswered = self.unanswered, []
        for command in commands:
            if self.outcome is not Outcome.ERROR:
                self.held.pop(command.route.key, None)
                if isinstance(command, Announce):
                    self.held[command.route.key] = command.route
            self.give(Answer(command.command, self.outcome))

    def let_pass(self, seconds):
        until = self.now + seconds
        self.answer()
        while (due := self.engine.next_deadline()) is not None and due <= until:
            self.now = max(self.now, due)
            self.give(Tick())
            self.answer()
        self.now = until

    def restart(self, how):
        if how in ("stopped", "withdrawn"):
            self.give(Stop("SIGTERM", withdraw=how == "withdrawn"))
        self.answer()
        kept = how not in ("exabgp too", "long ago")
        if not kept:
            self.held.clear()
        self.now += 1.0
        self.begin(
            Restored(
                last_event=self.events + 100,
                believed=tuple(self.believed.values()),
                rib_kept=kept,
                expired=how == "long ago",
                wall=WALL + self.now,
                by_hand=tuple(self.orders.values()),
            )
        )


@given(st.lists(happens, max_size=25))
def test_in_the_end_exabgp_holds_what_was_said_last(story):
    world, wanted = World(), {}
    for what, *how in story:
        if what == "say":
            announce, prefix, med = how
            order = ByHand(Route(prefix, med=med), announce, "noc", "", WALL + world.now)
            refused = world.engine.objection(Order(order), world.now) is not None
            assert refused == (world.taken and prefix == TAKEN)
            world.give(Order(order))
            if not refused:
                wanted.pop(str(prefix), None)
                if announce:
                    wanted[str(prefix)] = order.target
        elif what == "pass":
            world.let_pass(how[0])
        elif what == "answers":
            world.outcome = how[0]
        elif what == "restart":
            world.restart(how[0])
        else:
            world.taken = how[0]
            world.give(Reload(plan(world.taken)))
            if world.taken:
                wanted.pop(str(TAKEN), None)
    world.outcome = Outcome.DONE
    world.let_pass(1000.0)
    ours = {str(prefix) for prefix in PREFIXES} | (set() if world.taken else {str(TAKEN)})
    assert {key: route for key, route in world.held.items() if key in ours} == wanted
    assert {order.target.key: order.target for order in world.orders.values()} == wanted
    views = world.engine.snapshot(world.now).by_hand
    assert {view.order.target.key: view.route.route for view in views} == wanted
    assert all(view.route.announced for view in views)
