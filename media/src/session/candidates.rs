//! The far end's candidates: held until its description is there, and limited in number.

/// Candidates of the far end that are used per description, early ones included.
pub(super) const MAX_CANDIDATES: usize = 64;
/// A candidate is a line of text; a longer one is dropped.
const MAX_CANDIDATE: usize = 1024;

/// The far end's candidates. Pure.
#[derive(Debug, Default)]
pub(super) struct Candidates {
    described: bool,
    used: usize,
    early: Vec<String>,
}

impl Candidates {
    /// A candidate came: it is given back if it can be used now.
    pub(super) fn offer(&mut self, json: String) -> Option<String> {
        if json.len() > MAX_CANDIDATE || self.used == MAX_CANDIDATES {
            tracing::debug!(length = json.len(), used = self.used, "dropped a candidate");
            return None;
        }
        self.used += 1;
        if self.described {
            return Some(json);
        }
        self.early.push(json);
        None
    }

    /// A description came: the candidates that waited for it.
    pub(super) fn described(&mut self) -> Vec<String> {
        let early = std::mem::take(&mut self.early);
        (self.described, self.used) = (true, early.len());
        early
    }

    /// We asked for a restart: candidates that come now may belong to the answer.
    pub(super) fn restarting(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn early_candidates_wait_for_the_description() {
        let mut candidates = Candidates::default();
        assert_eq!(candidates.offer("a".to_owned()), None);
        assert_eq!(candidates.described(), ["a"]);
        assert_eq!(candidates.offer("b".to_owned()).as_deref(), Some("b"));
    }

    #[test]
    fn the_number_of_candidates_is_limited_for_each_description() {
        let mut candidates = Candidates::default();
        for _ in 0..100 {
            candidates.offer("a".to_owned());
        }
        assert_eq!(candidates.described().len(), MAX_CANDIDATES);
        assert_eq!(candidates.offer("b".to_owned()), None);
        candidates.restarting();
        assert_eq!(candidates.offer("c".to_owned()), None);
        assert_eq!(candidates.described(), ["c"]);
        let used = (0..100).filter(|_| candidates.offer("d".to_owned()).is_some()).count();
        assert_eq!(used, MAX_CANDIDATES - 1);
    }

    #[test]
    fn an_oversized_candidate_is_dropped() {
        let mut candidates = Candidates::default();
        candidates.described();
        assert_eq!(candidates.offer("x".repeat(MAX_CANDIDATE + 1)), None);
    }
}
