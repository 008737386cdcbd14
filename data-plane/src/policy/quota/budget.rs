//! One of the two budgets of a session, statements or bytes. Pure.

use std::time::{Duration, Instant};

/// How long the answer that nothing is to be had counts; then it is asked again, for a grant's sessions end and give back.
const SHORT_FOR: Duration = Duration::from_secs(1);
/// A slice that lasts less than this is followed by one of twice the size, up to the largest; one that lasts a quarter of
/// it, by one of four times the size. Every request costs the control plane a transaction.
const SLICE_LASTS: Duration = Duration::from_secs(4);
/// A slice that lasted longer than this is followed by one of half the size.
const SLICE_LASTS_LONG: Duration = Duration::from_secs(20);

/// What one look at the quota says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Taken {
    Yes,
    /// Not in what the session holds; more is asked for.
    NotYet,
    /// So much is not left for anyone.
    Spent,
    /// Sessions hold it whose proxies do not answer.
    Withheld,
}

/// Sizes of slices for one kind of budget.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sizes {
    pub(super) first: u64,
    pub(super) largest: u64,
}

/// What the control plane answers about one budget.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Answer {
    pub(super) amount: u64,
    pub(super) spent: bool,
    pub(super) withheld: bool,
    pub(super) elsewhere: u64,
}

impl Answer {
    /// That `asked`, and all beyond, is not to be had for a while.
    fn short(self, asked: u64, now: Instant) -> Option<(u64, Taken, Instant)> {
        let why = match (self.spent, self.withheld) {
            (true, _) => Taken::Spent,
            (false, true) => Taken::Withheld,
            (false, false) => return None,
        };
        Some((asked.max(1), why, now))
    }
}

#[derive(Debug)]
pub(super) struct Budget {
    pub(super) max: u64,
    pub(super) held: u64,
    pub(super) used: u64,
    /// What all other sessions have spent, by the last word.
    pub(super) elsewhere: u64,
    /// `used` as it was told last.
    told_used: u64,
    /// What waits for more than there was; while it waits, the session holds nothing.
    need: u64,
    slice: u64,
    wanted: u64,
    largest: u64,
    refilled: Instant,
    /// Asking ahead of need brought nothing, or everything was called back: ask when something is needed.
    dry: bool,
    short: Option<(u64, Taken, Instant)>,
}

impl Budget {
    pub(super) fn new(max: u64, first: Answer, sizes: Sizes, now: Instant) -> Self {
        Self {
            max,
            held: first.amount,
            used: 0,
            elsewhere: first.elsewhere,
            told_used: 0,
            need: 0,
            slice: first.amount,
            wanted: sizes.first,
            largest: sizes.largest,
            refilled: now,
            dry: false,
            short: first.short(1, now),
        }
    }

    pub(super) fn take(&mut self, amount: u64, now: Instant) -> Taken {
        if self.held >= amount {
            self.held -= amount;
            self.used += amount;
            self.need = 0;
            return Taken::Yes;
        }
        if let Some((least, why, since)) = self.short
            && amount >= least
            && now.saturating_duration_since(since) < SHORT_FOR
        {
            self.need = 0;
            return why;
        }
        self.need = amount;
        Taken::NotYet
    }

    /// What was paid for and did not happen.
    pub(super) fn give_back(&mut self, amount: u64) {
        let amount = amount.min(self.used);
        self.used -= amount;
        self.held += amount;
    }

    pub(super) fn is_needed(&self) -> bool {
        self.need > 0
    }

    /// Nothing waits any more.
    pub(super) fn forget_need(&mut self) {
        self.need = 0;
    }

    /// What to ask for: what is missing, and a good size.
    pub(super) fn ask(&self) -> (u64, u64) {
        let is_low = !self.dry && self.held <= self.slice / 2;
        match (self.need, is_low) {
            (0, false) => (0, 0),
            (need, _) => (need, self.wanted),
        }
    }

    /// What is told with a request. What is held and not enough goes back, so that somebody else can use it.
    pub(super) fn tell(&mut self) -> (u64, u64) {
        if self.need > 0 {
            self.held = 0;
        }
        self.told_used = self.used;
        (self.used, self.held)
    }

    /// Somebody else needs it: all goes back.
    pub(super) fn recall(&mut self) {
        (self.held, self.slice, self.dry) = (0, 0, true);
        self.wanted = (self.wanted / 2).max(1);
    }

    pub(super) fn add(&mut self, asked: u64, answer: Answer, now: Instant) {
        self.held += answer.amount;
        self.elsewhere = answer.elsewhere;
        self.short = answer.short(asked, now);
        if answer.amount == 0 {
            self.dry = true;
            return;
        }
        let lasted = now.saturating_duration_since(self.refilled);
        if lasted < SLICE_LASTS {
            let factor = if lasted < SLICE_LASTS / 4 { 4 } else { 2 };
            self.wanted = self.wanted.saturating_mul(factor).min(self.largest);
        } else if lasted > SLICE_LASTS_LONG {
            self.wanted = (self.wanted / 2).max(1);
        }
        (self.slice, self.refilled, self.dry) = (answer.amount, now, false);
    }

    /// All sessions together have spent `total`.
    pub(super) fn hear_total(&mut self, total: u64) {
        self.elsewhere = self.elsewhere.max(total.saturating_sub(self.told_used));
    }

    /// What of the grant is left, as far as is known here.
    pub(super) fn left(&self) -> u64 {
        self.max
            .saturating_sub(self.elsewhere)
            .saturating_sub(self.used)
    }
}
