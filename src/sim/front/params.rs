//! Parameters of a request, decoded (`ApiServlet.java`) and unpacked (`ParamUnpackWorker.java`).

use std::collections::BTreeMap;

use uuid::Uuid;

use super::envelope::ApiError;

/// Decoded parameters by name as sent. One value for each name: the query's before the form's,
/// then the first.
#[derive(Debug)]
pub(super) struct Params(BTreeMap<String, String>);

/// A parameter after unpacking, under its lower-cased name.
#[derive(Debug, PartialEq)]
pub(super) enum Unpacked {
    /// `name=value`.
    Text(String),
    /// `name[0].field=value`, by index.
    Map(BTreeMap<i32, BTreeMap<String, String>>),
}

impl Params {
    pub(super) fn decode(query: &str, form: &str) -> Self {
        let mut params = BTreeMap::new();
        for pair in query.split('&').chain(form.split('&')) {
            if pair.is_empty() {
                continue;
            }
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            params
                .entry(decode_text(name))
                .or_insert_with(|| decode_text(value));
        }
        Self(params)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// The value under exactly this name.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    pub(super) fn get_ignoring_case(&self, name: &str) -> Option<&str> {
        self.iter()
            .find(|(other, _)| other.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    }

    /// The ids a request names, for faults that are meant for one volume.
    pub(super) fn volumes(&self) -> Vec<Uuid> {
        ["id", "ids", "resourceids", "volumeid"]
            .iter()
            .filter_map(|name| self.get_ignoring_case(name))
            .flat_map(|value| value.split(','))
            .filter_map(|id| Uuid::parse_str(id).ok())
            .collect()
    }

    /// Control characters are refused in any value, but for tab, line feed and carriage return
    /// (`ApiServer.java`).
    pub(super) fn check_characters(&self) -> Result<(), ApiError> {
        let illegal = |c: char| c.is_ascii_control() && !matches!(c, '\t' | '\n' | '\r');
        match self.iter().find(|(_, value)| value.contains(illegal)) {
            None => Ok(()),
            Some((name, value)) => Err(ApiError::plain(
                431,
                format!(
                    "Received value {value} for parameter {name} is invalid, contains illegal \
                     ASCII non-printable characters"
                ),
            )),
        }
    }

    pub(super) fn unpacked(&self) -> Result<BTreeMap<String, Unpacked>, ApiError> {
        let mut unpacked = BTreeMap::new();
        for (name, value) in self.iter() {
            match name.find('[') {
                None | Some(0) if name.matches('[').count() < 2 => {
                    unpacked.insert(name.to_lowercase(), Unpacked::Text(value.to_owned()));
                }
                _ => {
                    let (map, index, field) = split_map_name(name).ok_or_else(|| {
                        ApiError::plain(
                            430,
                            format!(
                                "Unable to decode parameter {name}; if specifying an object \
                                 array, please use parameter[index].field=XXX, e.g. \
                                 userGroupList[0].group=httpGroup"
                            ),
                        )
                    })?;
                    let entry = unpacked
                        .entry(map)
                        .or_insert_with(|| Unpacked::Map(BTreeMap::new()));
                    if let Unpacked::Map(items) = entry {
                        items
                            .entry(index)
                            .or_default()
                            .insert(field, value.to_owned());
                    }
                }
            }
        }
        Ok(unpacked)
    }
}

/// `tags[0].key` as `("tags", 0, "key")`.
fn split_map_name(name: &str) -> Option<(String, i32, String)> {
    if name.matches('[').count() != 1 || name.matches(']').count() != 1 {
        return None;
    }
    let (map, rest) = name.split_once('[')?;
    let (index, rest) = rest.split_once(']')?;
    let field = rest.split_once('.')?.1;
    if map.contains('.') {
        return None;
    }
    Some((map.to_lowercase(), index.parse().ok()?, field.to_owned()))
}

/// `application/x-www-form-urlencoded`; a broken escape stands for itself.
fn decode_text(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let escaped = tail.get(..2).and_then(|digits| {
            // from_str_radix would take a sign, too.
            let digits = std::str::from_utf8(digits)
                .ok()
                .filter(|digits| !digits.contains('+'))?;
            u8::from_str_radix(digits, 16).ok()
        });
        rest = tail;
        match (first, escaped) {
            (b'%', Some(byte)) => {
                bytes.push(byte);
                rest = tail.get(2..).unwrap_or_default();
            }
            (b'+', _) => bytes.push(b' '),
            (other, _) => bytes.push(*other),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_decoded_as_a_form() {
        for (text, expected) in [
            ("a+b%20c", "a b c"),
            ("%C3%A9", "é"),
            ("100%", "100%"),
            ("%zz%4", "%zz%4"),
            ("%+1%-1", "% 1%-1"),
            ("", ""),
        ] {
            assert_eq!(decode_text(text), expected);
        }
    }

    #[test]
    fn the_query_wins_over_the_form() {
        let params = Params::decode("a=1&a=2&b", "a=3&c=4");
        assert_eq!(params.get("a"), Some("1"));
        assert_eq!(params.get("b"), Some(""));
        assert_eq!(params.get("c"), Some("4"));
        assert_eq!(params.get("A"), None);
        assert_eq!(params.get_ignoring_case("A"), Some("1"));
    }

    #[test]
    fn maps_are_unpacked_or_refused_with_430() {
        let unpacked = Params::decode("Tags[0].key=K&tags[0].value=V&tags[12].key=L&X=1", "")
            .unpacked()
            .expect("well formed");
        let Some(Unpacked::Map(tags)) = unpacked.get("tags") else {
            panic!("{unpacked:?}");
        };
        assert_eq!(tags[&0]["key"], "K");
        assert_eq!(tags[&0]["value"], "V");
        assert_eq!(tags[&12]["key"], "L");
        assert_eq!(unpacked.get("x"), Some(&Unpacked::Text("1".to_owned())));
        for name in [
            "tags[0]key",
            "tags[a].key",
            "tags[0][1].key",
            "tags[0.key",
            "tags]0[.key",
            "tags[].key",
        ] {
            let error = Params::decode(&format!("{name}=1"), "")
                .unpacked()
                .expect_err(name);
            assert_eq!((error.code, error.cs_code), (430, Some(9999)), "{name}");
        }
    }
}
