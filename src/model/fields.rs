//! Collecting what is wrong with an input, field by field, so that a caller hears of everything at once.

use serde_json::{Map, Value};

use crate::problem::Problem;

/// The invalid fields of one request.
#[derive(Debug, Default)]
pub struct Fields(Map<String, Value>);

impl Fields {
    /// Nothing wrong yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Notes that a field is invalid; a field's first complaint stays.
    pub fn complain(&mut self, field: &str, why: &str) {
        self.0.entry(field).or_insert_with(|| why.into());
    }

    /// The value, or `None` and a complaint.
    pub fn take<T>(&mut self, field: &str, parsed: Result<T, &'static str>) -> Option<T> {
        parsed.map_err(|why| self.complain(field, why)).ok()
    }

    /// The value of a field that must be there.
    pub fn require<T>(&mut self, field: &str, value: Option<T>) -> Option<T> {
        if value.is_none() {
            self.complain(field, "must be given");
        }
        value
    }

    /// # Errors
    /// [`Problem::Invalid`] when there was a complaint.
    pub fn done(self) -> Result<(), Problem> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(Problem::Invalid(self.0))
        }
    }
}
