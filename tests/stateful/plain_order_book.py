"""An order book as one would write it on paper: a list of orders per slot, searched from end to end. The twin of the fast
one."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Resting:
    id: int
    participant: int
    slot: int
    side: int
    quantity: int
    price: int
    time: int
    rank: int


@dataclass
class PlainBook:
    """Prices lowest + i * tick for i < levels; `gates` slot -> closure; `policy` as in BookRules.self_trade."""

    lowest: int
    tick: int
    levels: int
    gates: dict[int, int]
    policy: str = "allow"
    orders: list[Resting] = field(default_factory=list)
    clock: int = -(2**63)
    arrivals: int = 0
    fills: list[tuple[int, ...]] = field(default_factory=list)
    removals: list[tuple[int, int, int, int, int, str]] = field(default_factory=list)

    def apply(
        self, row: int, kind: str, type_: str, side: int, id: int, who: int, slot: int, wh: int, price: int, time: int
    ) -> str:
        if time < self.clock:
            return "refused: earlier than the book's clock"
        self.clock = time
        for order in sorted(self.orders, key=lambda o: (o.slot, -o.side, -o.side * o.price, o.rank)):
            if self.gates[order.slot] <= time:
                self._remove(row, order, "expired")
        if kind == "clock":
            return "clock advanced"
        mine = next((o for o in self.orders if o.id == id), None)
        if kind == "new":
            if mine is not None:
                return "refused: an order with this id is in the book"
            if slot not in self.gates:
                return "refused: the book has no such slot"
            if self.gates[slot] <= time:
                return "refused: the gate of the slot has closed"
            if side not in (1, -1):
                return "refused: no such kind, type or side"
        else:
            if mine is None:
                return "refused: no such order in the book"
            if mine.participant != who:
                return "refused: the order is another participant's"
            if kind == "cancel":
                self._remove(row, mine, "cancelled")
                return "cancelled"
            if type_ not in ("limit", "post_only"):
                return "refused: no such kind, type or side"
            side, slot = mine.side, mine.slot
        if wh <= 0:
            return "refused: the quantity is not positive"
        if type_ == "market":
            price = self.lowest + self.tick * (self.levels - 1) if side > 0 else self.lowest
        if (price - self.lowest) % self.tick or not 0 <= (price - self.lowest) // self.tick < self.levels:
            return "refused: the price is not on the grid"
        if kind == "amend" and mine is not None and mine.price == price and wh <= mine.quantity:
            if wh < mine.quantity:
                self.removals.append((row, id, who, slot, mine.quantity - wh, "reduced"))
            mine.quantity = wh
            return "reduced in place"
        if type_ == "post_only" and self._against(slot, side, price):
            return "refused: post-only order would trade"
        if kind == "amend" and mine is not None:
            self._remove(row, mine, "replaced")
        return self._take(row, type_, side, id, who, slot, wh, price, time)

    def _take(self, row: int, type_: str, side: int, id: int, who: int, slot: int, wh: int, price: int, time: int) -> str:
        left, stopped = wh, False
        if type_ == "fill_or_kill" and self._reach(slot, side, price, who) < wh:
            self.removals.append((row, id, who, slot, left, "lapsed"))
            return "lapsed"
        while left and not stopped and (makers := self._against(slot, side, price)):
            maker = makers[0]
            if self.policy != "allow" and maker.participant == who:
                if self.policy != "cancel_newest":
                    self._remove(row, maker, "self_trade")
                stopped = self.policy != "cancel_oldest"
                continue
            energy = min(left, maker.quantity)
            left -= energy
            maker.quantity -= energy
            pair = (id, maker.id, who, maker.participant) if side > 0 else (maker.id, id, maker.participant, who)
            self.fills.append((row, slot, *pair, energy, maker.price))
            if not maker.quantity:
                self.orders.remove(maker)
        if not left:
            return "filled"
        if stopped:
            self.removals.append((row, id, who, slot, left, "self_trade"))
            return "stopped by self-trade prevention"
        if type_ in ("limit", "post_only"):
            self.arrivals += 1
            self.orders.append(Resting(id, who, slot, side, left, price, time, self.arrivals))
            return "resting"
        self.removals.append((row, id, who, slot, left, "lapsed"))
        return "lapsed"

    def _against(self, slot: int, side: int, price: int) -> list[Resting]:
        reachable = [o for o in self.orders if o.slot == slot and o.side == -side and (price - o.price) * side >= 0]
        return sorted(reachable, key=lambda o: (o.price * side, o.rank))

    def _reach(self, slot: int, side: int, price: int, who: int) -> int:
        reach = 0
        for maker in self._against(slot, side, price):
            if self.policy != "allow" and maker.participant == who:
                if self.policy != "cancel_oldest":
                    return reach
            else:
                reach += maker.quantity
        return reach

    def _remove(self, row: int, order: Resting, reason: str) -> None:
        self.orders.remove(order)
        self.removals.append((row, order.id, order.participant, order.slot, order.quantity, reason))
