//! Numbers in records: JSON has none that are not finite, so those are written as the strings "NaN", "Infinity" and "-Infinity",
//! and read back from them.
//! Not here: the records.

use std::fmt;

use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A number as it is in a file.
#[derive(Clone, Copy)]
struct Number(f64);

impl Serialize for Number {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            number if number.is_finite() => serializer.serialize_f64(number),
            number if number.is_nan() => serializer.serialize_str("NaN"),
            number if number > 0.0 => serializer.serialize_str("Infinity"),
            _ => serializer.serialize_str("-Infinity"),
        }
    }
}

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyNumber).map(Self)
    }
}

struct AnyNumber;

impl Visitor<'_> for AnyNumber {
    type Value = f64;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a number, \"NaN\", \"Infinity\" or \"-Infinity\"")
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<f64, E> {
        Ok(number)
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<f64, E> {
        Ok(number as f64)
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<f64, E> {
        Ok(number as f64)
    }

    fn visit_str<E: Error>(self, word: &str) -> Result<f64, E> {
        match word {
            "NaN" => Ok(f64::NAN),
            "Infinity" => Ok(f64::INFINITY),
            "-Infinity" => Ok(f64::NEG_INFINITY),
            _ => Err(E::invalid_value(serde::de::Unexpected::Str(word), &self)),
        }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference to the field")]
pub(super) fn serialize<S: Serializer>(number: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    Number(*number).serialize(serializer)
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    Number::deserialize(deserializer).map(|number| number.0)
}

/// The same where there may be none.
pub(super) mod optional {
    use super::{Deserialize, Deserializer, Number, Serialize, Serializer};

    #[expect(clippy::ref_option, reason = "serde gives a reference to the field")]
    pub(in super::super) fn serialize<S: Serializer>(
        number: &Option<f64>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        number.map(Number).serialize(serializer)
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<f64>, D::Error> {
        Ok(Option::<Number>::deserialize(deserializer)?.map(|number| number.0))
    }
}

/// The same by name.
pub(super) mod named {
    use std::collections::BTreeMap;

    use super::{Deserialize, Deserializer, Number, Serializer};

    pub(in super::super) fn serialize<S: Serializer>(
        numbers: &BTreeMap<String, f64>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_map(numbers.iter().map(|(name, number)| (name, Number(*number))))
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<BTreeMap<String, f64>, D::Error> {
        let numbers = BTreeMap::<String, Number>::deserialize(deserializer)?;
        Ok(numbers.into_iter().map(|(name, number)| (name, number.0)).collect())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
    struct Record {
        #[serde(with = "super")]
        one: f64,
        #[serde(with = "super::optional", default)]
        perhaps: Option<f64>,
        #[serde(with = "super::named")]
        several: BTreeMap<String, f64>,
    }

    /// The default of `serde_json` is off by one in the last bit now and then.
    #[test]
    fn numbers_are_read_back_to_the_bit() {
        let mut bits = 0x9e37_79b9_7f4a_7c15_u64;
        for _ in 0..10_000 {
            bits = bits.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
            let number = f64::from_bits(bits);
            if number.is_finite() {
                let record = Record { one: number, ..Record::default() };
                let json = serde_json::to_string(&record).unwrap();
                assert_eq!(
                    serde_json::from_str::<Record>(&json).unwrap().one.to_bits(),
                    number.to_bits()
                );
            }
        }
    }

    #[test]
    fn what_json_has_no_numbers_for_is_written_in_words_and_read_back() {
        for (number, text) in [
            (0.1, "0.1"),
            (-3.0, "-3.0"),
            (f64::INFINITY, "\"Infinity\""),
            (f64::NEG_INFINITY, "\"-Infinity\""),
        ] {
            let several = BTreeMap::from([("a".to_owned(), number)]);
            let record = Record { one: number, perhaps: Some(number), several };
            let json = format!(r#"{{"one":{text},"perhaps":{text},"several":{{"a":{text}}}}}"#);
            assert_eq!(serde_json::to_string(&record).unwrap(), json);
            assert_eq!(serde_json::from_str::<Record>(&json).unwrap(), record);
        }
        let record = Record { one: f64::NAN, ..Record::default() };
        let json = serde_json::to_string(&record).unwrap();
        assert_eq!(json, r#"{"one":"NaN","perhaps":null,"several":{}}"#);
        assert!(serde_json::from_str::<Record>(&json).unwrap().one.is_nan());
        let whole: Record = serde_json::from_str(r#"{"one":-2,"several":{"a":3}}"#).unwrap();
        assert_eq!((whole.one, whole.perhaps, whole.several["a"]), (-2.0, None, 3.0));
    }

    #[test]
    fn other_words_are_no_numbers() {
        let error = serde_json::from_str::<Record>(r#"{"one":"nan","several":{}}"#).unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("invalid value: string \"nan\", expected a number, \"NaN\"")
        );
    }
}
