//! How often somebody may do something: a token bucket over injected time.

use std::time::Instant;

/// Holds up to `burst` tokens and gains `per_second` of them. Every act takes one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TokenBucket {
    burst: f64,
    per_second: f64,
    tokens: f64,
    at: Instant,
}

impl TokenBucket {
    /// A full bucket.
    pub(crate) fn new(burst: u32, per_second: f64, now: Instant) -> Self {
        Self { burst: f64::from(burst), per_second, tokens: f64::from(burst), at: now }
    }

    /// Takes a token if there is one.
    pub(crate) fn take(&mut self, now: Instant) -> bool {
        self.take_many(now, 1)
    }

    /// Takes so many tokens, or none.
    pub(crate) fn take_many(&mut self, now: Instant, tokens: u32) -> bool {
        self.tokens = self.tokens_at(now);
        self.at = self.at.max(now);
        let granted = self.tokens >= f64::from(tokens);
        if granted {
            self.tokens -= f64::from(tokens);
        }
        granted
    }

    /// Gives a taken token back.
    pub(crate) fn give_back(&mut self) {
        self.tokens = (self.tokens + 1.0).min(self.burst);
    }

    /// Whether whoever took from it has been quiet for long enough.
    pub(crate) fn is_full(&self, now: Instant) -> bool {
        self.tokens_at(now) >= self.burst
    }

    fn tokens_at(&self, now: Instant) -> f64 {
        let elapsed = now.saturating_duration_since(self.at);
        (self.tokens + elapsed.as_secs_f64() * self.per_second).min(self.burst)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_flood_gets_the_burst_and_then_the_rate() {
        let start = Instant::now();
        let mut bucket = TokenBucket::new(5, 2.0, start);
        let granted = (0..10_000).filter(|i| bucket.take(start + Duration::from_millis(*i))).count();
        assert_eq!(granted, 5 + 19);
    }
}
