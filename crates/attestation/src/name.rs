//! Names of certificates as text (RFC 4514).

use x509_cert::attr::AttributeTypeAndValue;
use x509_cert::der::oid::ObjectIdentifier;
use x509_cert::der::{Tag, Tagged as _};
use x509_cert::name::Name;

/// The kinds of attribute that Nitro's names are made of, with their short names (RFC 4514, section
/// 3).
const SHORT_NAMES: [(ObjectIdentifier, &str); 6] = [
    (ObjectIdentifier::new_unwrap("2.5.4.3"), "CN"),
    (ObjectIdentifier::new_unwrap("2.5.4.6"), "C"),
    (ObjectIdentifier::new_unwrap("2.5.4.7"), "L"),
    (ObjectIdentifier::new_unwrap("2.5.4.8"), "ST"),
    (ObjectIdentifier::new_unwrap("2.5.4.10"), "O"),
    (ObjectIdentifier::new_unwrap("2.5.4.11"), "OU"),
];

/// The name as the certificate library writes it.
///
/// The library searches its list of all object identifiers for each attribute, which for the five
/// certificates of a document takes half as long as a signature; so what needs neither search nor
/// escapes is written here.
pub(crate) fn text_of(name: &Name) -> String {
    let mut text = String::new();
    for (index, attributes) in name.iter_rdn().collect::<Vec<_>>().into_iter().rev().enumerate() {
        if index > 0 {
            text.push(',');
        }
        for (index, attribute) in attributes.iter().enumerate() {
            if index > 0 {
                text.push('+');
            }
            push_attribute(&mut text, attribute);
        }
    }
    text
}

fn push_attribute(text: &mut String, attribute: &AttributeTypeAndValue) {
    let short_name = SHORT_NAMES.iter().find(|(oid, _)| *oid == attribute.oid);
    match (short_name, plain(attribute)) {
        (Some((_, short_name)), Some(value)) => {
            text.push_str(short_name);
            text.push('=');
            text.push_str(value);
        }
        _ => text.push_str(&attribute.to_string()),
    }
}

/// The value if it is a text in which nothing needs an escape.
fn plain(attribute: &AttributeTypeAndValue) -> Option<&str> {
    let is_text = matches!(attribute.value.tag(), Tag::PrintableString | Tag::Utf8String);
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b" .-:/".contains(byte);
    let bytes = attribute.value.value();
    let is_edged = bytes.first() == Some(&b' ') || bytes.last() == Some(&b' ');
    if !is_text || is_edged || !bytes.iter().all(is_plain) {
        return None;
    }
    str::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_written_as_the_certificate_library_writes_them() {
        let texts = [
            "CN=aws.nitro-enclaves,OU=AWS,O=Amazon,C=US",
            "CN=i-0123.enc01,OU=a,O=b,L=Seattle,ST=Washington,C=US",
            "CN=one+OU=two,C=US",
            r"CN=a\, b\+c,O=\ edges\ ,C=US",
            "CN=naïve,SN=other",
        ];
        for text in texts {
            let name: Name = text.parse().expect(text);
            assert_eq!(text_of(&name), name.to_string(), "{text}");
        }
    }
}
