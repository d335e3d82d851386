//! What the configuration says otherwise about database errors: `[pipelines.NAME.fates]`.

use std::collections::BTreeMap;

use longshore_actors::error::Fate;

/// Fates by SQLSTATE, or by its class (the first two characters).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fates(BTreeMap<String, Fate>);

impl Fates {
    /// The fates of these codes and classes.
    pub fn new(fates: BTreeMap<String, Fate>) -> Self {
        Self(fates)
    }

    /// What is said of `sqlstate`: of itself, else of its class.
    pub fn of(&self, sqlstate: &str) -> Option<Fate> {
        let class = || self.0.get(sqlstate.get(..2)?);
        self.0.get(sqlstate).or_else(class).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_says_more_than_its_class() {
        let fates = [("23", Fate::Retry), ("23505", Fate::Stop)];
        let fates = Fates::new(fates.map(|(code, fate)| (code.to_owned(), fate)).into());
        assert_eq!(fates.of("23503"), Some(Fate::Retry));
        assert_eq!(fates.of("23505"), Some(Fate::Stop));
        assert_eq!(fates.of("22001"), None);
    }
}
