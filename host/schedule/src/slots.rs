//! Who may hold a slot, and who comes next: of those that may start, the one that has wanted to for the longest time.
//!
//! Runs that wait on the network may hold half the slots, and no plugin more than its share, so that an outage of many
//! targets does not starve the rest. Keys stand in lines, one per class and plugin; the heads of lines whose plugin has
//! room stand in one order per class. So nobody is held up by a line that may not go on, and no step looks at more than
//! the head of a line.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use roundsman_model::key::Key;
use roundsman_model::time::Timestamp;

/// A run that takes longer waits for something. A guest may compute for 100 ms, but hardly any does for a tenth of that;
/// and a target that answers so late holds a slot for as long as hundreds of brief runs do.
pub const WAITS: Duration = Duration::from_millis(50);

/// However many plugins there are, each may hold so large a part of the slots: with dozens of them, an even split would
/// leave most slots empty.
const MOST_SHARES: usize = 4;

/// The group of what is no plugin, such as the agent's look at itself: it has no share, and takes none from the others.
pub const NO_SHARE: u32 = u32::MAX;

/// How much may run at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slots {
    /// Runs in flight, of all checks together.
    pub runs: usize,
}

/// What runs of a key are like, by the last one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    Brief,
    Waiting,
}

/// In which line a key stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Lane {
    pub(crate) class: Class,
    pub(crate) group: u32,
}

/// The slots, and the lines of those that want one.
#[derive(Debug)]
pub(crate) struct Lanes {
    slots: Slots,
    in_flight: usize,
    /// Of these, those that count against the half of the waiting ones.
    waiting: usize,
    /// The others, by their start: those that are in flight for too long go over to the waiting ones.
    young: BTreeSet<(Timestamp, Key)>,
    groups: HashMap<u32, Group>,
    /// Groups that have keys.
    populated: usize,
    /// The first of each line whose group has room, by class.
    heads: [BTreeSet<(Timestamp, Key)>; 2],
}

#[derive(Debug, Default)]
struct Group {
    keys: usize,
    in_flight: usize,
    lines: [Line; 2],
}

#[derive(Debug, Default)]
struct Line {
    keys: BTreeSet<(Timestamp, Key)>,
    /// Who stands for it among the heads.
    shown: Option<(Timestamp, Key)>,
}

impl Lanes {
    pub(crate) fn new(slots: Slots) -> Self {
        Self {
            slots,
            in_flight: 0,
            waiting: 0,
            young: BTreeSet::new(),
            groups: HashMap::new(),
            populated: 0,
            heads: [BTreeSet::new(), BTreeSet::new()],
        }
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight
    }

    pub(crate) fn set_slots(&mut self, slots: Slots) {
        let share = self.share();
        self.slots = slots;
        self.show_all_unless(share);
    }

    /// A key of this group is there from now on.
    pub(crate) fn join(&mut self, group: u32) {
        let share = self.share();
        let entered = self.groups.entry(group).or_default();
        entered.keys += 1;
        self.populated += usize::from(entered.keys == 1 && group != NO_SHARE);
        self.show_all_unless(share);
    }

    /// A key of this group, which stands in no line, is no longer there.
    pub(crate) fn leave(&mut self, group: u32) {
        let share = self.share();
        let Some(left) = self.groups.get_mut(&group) else { return };
        left.keys -= 1;
        self.populated -= usize::from(left.keys == 0 && group != NO_SHARE);
        self.forget_if_empty(group);
        self.show_all_unless(share);
    }

    /// Puts a key into its line.
    pub(crate) fn queue(&mut self, at: Timestamp, key: &Key, lane: Lane) {
        self.groups.entry(lane.group).or_default().lines[lane.class as usize].keys.insert((at, key.clone()));
        self.show(lane);
    }

    /// Takes a key out of its line.
    pub(crate) fn unqueue(&mut self, at: Timestamp, key: &Key, lane: Lane) {
        if let Some(group) = self.groups.get_mut(&lane.group) {
            group.lines[lane.class as usize].keys.remove(&(at, key.clone()));
            self.show(lane);
        }
    }

    /// Who is to start next.
    pub(crate) fn first(&self) -> Option<&(Timestamp, Key)> {
        if self.in_flight >= self.slots.runs {
            return None;
        }
        let [brief, waiting] = self.heads.each_ref().map(BTreeSet::first);
        let may_wait = self.waiting < (self.slots.runs / 2).max(1);
        [brief, waiting.filter(|_| may_wait)].into_iter().flatten().min()
    }

    /// Whether the end of a run may let somebody start who could not before.
    pub(crate) fn is_tight(&self) -> bool {
        let share = self.share();
        let full = |(number, group): (&u32, &Group)| *number != NO_SHARE && group.in_flight >= share;
        self.in_flight >= self.slots.runs
            || self.waiting >= (self.slots.runs / 2).max(1)
            || self.groups.iter().any(full)
    }

    /// Counts whoever has been in flight for too long among the waiting ones: the first wave of an outage is made of keys
    /// that used to be brief.
    pub(crate) fn advance(&mut self, now: Timestamp) {
        while self.young.first().is_some_and(|(began, _)| now.since(*began) > WAITS) {
            self.young.pop_first();
            self.waiting += 1;
        }
    }

    /// A run begins and holds a slot.
    pub(crate) fn take(&mut self, key: &Key, began: Timestamp, lane: Lane) {
        self.in_flight += 1;
        match lane.class {
            Class::Brief => drop(self.young.insert((began, key.clone()))),
            Class::Waiting => self.waiting += 1,
        }
        self.groups.entry(lane.group).or_default().in_flight += 1;
        self.show_both(lane.group);
    }

    /// A run that began then has ended.
    pub(crate) fn release(&mut self, key: &Key, began: Timestamp, group: u32) {
        self.in_flight -= 1;
        if !self.young.remove(&(began, key.clone())) {
            self.waiting -= 1;
        }
        if let Some(left) = self.groups.get_mut(&group) {
            left.in_flight -= 1;
        }
        self.show_both(group);
        self.forget_if_empty(group);
    }

    /// The clock was set back: what is in flight began earlier by it.
    pub(crate) fn set_back(&mut self, by: Duration) {
        let young = std::mem::take(&mut self.young);
        self.young = young.into_iter().map(|(began, key)| (began - by, key)).collect();
    }

    fn share(&self) -> usize {
        (self.slots.runs / self.populated.clamp(1, MOST_SHARES)).max(1)
    }

    /// Brings the heads in line with one line.
    fn show(&mut self, lane: Lane) {
        let share = self.share();
        let Some(group) = self.groups.get_mut(&lane.group) else { return };
        let line = &mut group.lines[lane.class as usize];
        let first = line.keys.first().filter(|_| group.in_flight < share || lane.group == NO_SHARE);
        if first == line.shown.as_ref() {
            return;
        }
        let heads = &mut self.heads[lane.class as usize];
        if let Some(old) = &line.shown {
            heads.remove(old);
        }
        line.shown = first.cloned();
        heads.extend(line.shown.clone());
    }

    fn show_both(&mut self, group: u32) {
        self.show(Lane { class: Class::Brief, group });
        self.show(Lane { class: Class::Waiting, group });
    }

    fn show_all_unless(&mut self, share: usize) {
        if self.share() == share {
            return;
        }
        let groups: Vec<u32> = self.groups.keys().copied().collect();
        groups.into_iter().for_each(|group| self.show_both(group));
    }

    /// Nothing of it is left: a plugin that was taken away must not be remembered for ever.
    fn forget_if_empty(&mut self, group: u32) {
        if self.groups.get(&group).is_some_and(Group::is_empty) {
            self.groups.remove(&group);
        }
    }
}

impl Group {
    fn is_empty(&self) -> bool {
        self.keys == 0 && self.in_flight == 0 && self.lines.iter().all(|line| line.keys.is_empty())
    }
}
