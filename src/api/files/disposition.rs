//! The header `Content-Disposition`, both ways (RFC 6266, RFC 8187). Pure.

use std::fmt::Write as _;

use axum::http::HeaderValue;

/// The name that a request gives its file; `filename*` wins over `filename`.
pub(super) fn filename(value: &str) -> Result<Option<String>, &'static str> {
    let mut rest = value.trim();
    let kind = rest.find(';').map_or(rest, |end| &rest[..end]);
    if kind.trim().is_empty() || kind.contains(['=', '"']) {
        return Err("names no disposition");
    }
    rest = &rest[kind.len()..];
    let (mut plain, mut extended) = (None, None);
    while let Some(parameters) = rest.strip_prefix(';') {
        let parameters = parameters.trim_start();
        if parameters.is_empty() {
            // A semicolon at the end is no mistake worth a refusal.
            rest = parameters;
            break;
        }
        let (name, after) = parameters.split_once('=').ok_or("has a parameter without a value")?;
        let (text, after) = parameter(after.trim_start())?;
        match name.trim().to_ascii_lowercase().as_str() {
            "filename" if plain.replace(text.clone()).is_some() => return Err("has the parameter filename twice"),
            "filename*" if extended.replace(decode(&text)?).is_some() => return Err("has the parameter filename* twice"),
            _ => {}
        }
        rest = after.trim_start();
    }
    if rest.is_empty() { Ok(extended.or(plain)) } else { Err("goes on after a value without a semicolon") }
}

/// A token or a quoted string, and what follows it.
fn parameter(text: &str) -> Result<(String, &str), &'static str> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find(';').unwrap_or(text.len());
        return Ok((text[..end].trim_end().to_owned(), &text[end..]));
    };
    let mut value = String::new();
    let mut chars = quoted.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Ok((value, &quoted[at + 1..])),
            '\\' => value.push(chars.next().ok_or("has a quoted string without an end")?.1),
            c => value.push(c),
        }
    }
    Err("has a quoted string without an end")
}

/// `UTF-8'language'percent%20encoded`.
fn decode(text: &str) -> Result<String, &'static str> {
    let mut parts = text.splitn(3, '\'');
    let (Some(charset), Some(_language), Some(encoded)) = (parts.next(), parts.next(), parts.next()) else {
        return Err("has a filename* without a charset");
    };
    if !charset.eq_ignore_ascii_case("utf-8") {
        return Err("has a filename* in another charset than UTF-8");
    }
    let mut bytes = Vec::new();
    let mut rest = encoded.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(if byte == b'%' {
            let digit = |byte: Option<u8>| byte.and_then(|byte| char::from(byte).to_digit(16));
            let (Some(high), Some(low)) = (digit(rest.next()), digit(rest.next())) else { return Err("has a broken percent encoding") };
            u8::try_from(high * 16 + low).expect("two hexadecimal digits make a byte")
        } else {
            byte
        });
    }
    String::from_utf8(bytes).map_err(|_| "has a filename* that is not UTF-8")
}

/// For a reply: always to be saved, never to be shown. The name stands there twice where it is more than plain ASCII.
pub(super) fn attachment(filename: Option<&str>) -> HeaderValue {
    let Some(name) = filename else { return HeaderValue::from_static("attachment") };
    let is_plain = |c: char| matches!(c, ' '..='~') && !matches!(c, '"' | '\\' | '%');
    let plain: String = name.chars().map(|c| if is_plain(c) { c } else { '_' }).collect();
    let mut value = format!("attachment; filename=\"{plain}\"");
    if plain != name {
        value.push_str("; filename*=UTF-8''");
        for byte in name.bytes() {
            match byte {
                b'A'..=b'Z'
                | b'a'..=b'z'
                | b'0'..=b'9'
                | b'!'
                | b'#'
                | b'$'
                | b'&'
                | b'+'
                | b'-'
                | b'.'
                | b'^'
                | b'_'
                | b'`'
                | b'|'
                | b'~' => {
                    value.push(char::from(byte));
                }
                _ => write!(value, "%{byte:02X}").expect("a string takes all that is written"),
            }
        }
    }
    HeaderValue::from_str(&value).expect("what is not plain ASCII is encoded")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_are_read_as_browsers_and_curl_write_them() {
        for (value, name) in [
            ("attachment", None),
            ("attachment; filename=a.txt", Some("a.txt")),
            ("attachment;filename = \"a b.txt\" ; size=3", Some("a b.txt")),
            ("inline; FILENAME=\"a\\\"b\\\\c.txt\"", Some("a\"b\\c.txt")),
            ("form-data; name=\"file\"; filename=\"grün.txt\"", Some("grün.txt")),
            ("attachment; filename=\"a.txt\"; filename*=UTF-8''%e2%82%ac%20rates.txt", Some("€ rates.txt")),
            ("attachment; filename*=utf-8'en'x; filename=y", Some("x")),
            ("attachment; filename=\"../../etc/passwd\"", Some("../../etc/passwd")),
            ("attachment; filename=\"a;b=c\";", Some("a;b=c")),
        ] {
            assert_eq!(filename(value), Ok(name.map(str::to_owned)), "{value}");
        }
    }

    #[test]
    fn what_is_malformed_is_refused() {
        for value in [
            "",
            "; filename=a",
            "filename=\"a.txt\"",
            "attachment; filename",
            "attachment; filename=\"a",
            "attachment; filename=\"a\\",
            "attachment; filename=\"a\" b",
            "attachment; filename=a; filename=b",
            "attachment; filename*=a.txt",
            "attachment; filename*=latin1''a",
            "attachment; filename*=UTF-8''%zz",
            "attachment; filename*=UTF-8''%f",
            "attachment; filename*=UTF-8''%ff",
        ] {
            assert!(filename(value).is_err(), "{value}");
        }
    }

    proptest! {
        #[test]
        fn any_name_comes_back_and_never_leaves_its_header(name in "\\PC{1,40}|[\\x00-\\x7f]{1,40}") {
            let value = attachment(Some(&name));
            let text = value.to_str().unwrap();
            prop_assert_eq!(filename(text), Ok(Some(name)));
        }

        #[test]
        fn no_header_makes_the_parser_panic(value in "\\PC{0,60}|attachment;[ a-z*=\"\\\\;'%]{0,40}") {
            let _ = filename(&value);
        }
    }
}
