//! Validation of the fields of a request: every invalid one is reported, not only the first.

use serde_json::Value;

use crate::problem::Problem;

/// A field of a request: its name, and its value or why it is invalid.
#[derive(Debug)]
pub struct Field<T> {
    name: &'static str,
    value: Result<T, &'static str>,
}

impl<T> Field<T> {
    /// A field and the result of parsing it.
    pub fn new(name: &'static str, value: Result<T, &'static str>) -> Self {
        Self { name, value }
    }

    /// A field that the request must contain.
    pub fn required(name: &'static str, value: Option<T>) -> Self {
        Self::new(name, value.ok_or("is required"))
    }

    /// Parses the value further, unless the field is invalid already.
    pub fn parse<U>(self, parse: impl FnOnce(T) -> Result<U, &'static str>) -> Field<U> {
        Field::new(self.name, self.value.and_then(parse))
    }
}

impl<T> Field<Option<T>> {
    /// A field that the request may leave out; `parse` checks the value, if there is one.
    pub fn optional<U>(
        name: &'static str,
        value: Option<U>,
        parse: impl FnOnce(U) -> Result<T, &'static str>,
    ) -> Self {
        Self::new(name, value.map(parse).transpose())
    }
}

/// A tuple of fields that are validated together.
pub trait Validate {
    /// The values of the fields.
    type Values;

    /// The values, if every field is valid.
    ///
    /// # Errors
    /// [`Problem::Invalid`] with an entry for each invalid field.
    fn validate(self) -> Result<Self::Values, Problem>;
}

macro_rules! validate_tuple {
    ($($field:ident: $type:ident),+) => {
        impl<$($type),+> Validate for ($(Field<$type>,)+) {
            type Values = ($($type,)+);

            fn validate(self) -> Result<Self::Values, Problem> {
                let ($($field,)+) = self;
                let names = [$($field.name),+];
                match ($($field.value,)+) {
                    ($(Ok($field),)+) => Ok(($($field,)+)),
                    ($($field,)+) => Err(invalid(names, [$($field.err()),+])),
                }
            }
        }
    };
}

validate_tuple!(a: A, b: B);
validate_tuple!(a: A, b: B, c: C);

fn invalid<const N: usize>(names: [&str; N], errors: [Option<&str>; N]) -> Problem {
    let fields = names
        .into_iter()
        .zip(errors)
        .filter_map(|(name, error)| Some((name.to_owned(), Value::from(error?))))
        .collect();
    Problem::Invalid(fields)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn even(number: i32) -> Result<i32, &'static str> {
        (number % 2 == 0).then_some(number).ok_or("must be even")
    }

    #[test]
    fn valid_fields_give_their_values() {
        let fields = (
            Field::required("a", Some(2)).parse(even),
            Field::optional("b", Some(4), even),
            Field::optional("c", None, even),
        );
        assert_eq!(
            fields.validate().expect("all fields are valid"),
            (2, Some(4), None)
        );
    }

    #[test]
    fn every_invalid_field_is_reported_once() {
        let fields = (
            Field::required("a", None).parse(even),
            Field::required("b", Some(2)).parse(even),
            Field::optional("c", Some(3), even),
        );
        let problem = fields.validate().expect_err("two fields are invalid");
        assert_eq!(
            problem.details(),
            json!({ "a": "is required", "c": "must be even" })
        );
    }
}
