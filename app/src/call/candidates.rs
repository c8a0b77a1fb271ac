use tracing::debug;

/// Candidates that must wait for consent. Holds [`Self::CAPACITY`]; further ones are dropped: a machine with more
/// interfaces than that is reached on the first of them. All go out at once, and the network lets no more than 64
/// messages of a call wait for their delivery.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Held(Vec<String>);

impl Held {
    pub(super) const CAPACITY: usize = 48;

    pub(super) fn push(&mut self, candidate: String) {
        if self.0.len() < Self::CAPACITY {
            self.0.push(candidate);
        } else {
            debug!(capacity = Self::CAPACITY, "dropped a candidate: too many are held already");
        }
    }
}

impl IntoIterator for Held {
    type Item = String;
    type IntoIter = std::vec::IntoIter<String>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

/// How many more candidates the other side may add between two ICE restarts; further ones are dropped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Allowance(usize);

impl Allowance {
    pub(super) fn spend(&mut self) -> bool {
        let left = self.0.checked_sub(1);
        self.0 = left.unwrap_or(0);
        left.is_some()
    }
}

impl Default for Allowance {
    fn default() -> Self {
        Self(Held::CAPACITY)
    }
}
