//! A report as one page that needs nothing else: no script, no request, no font.

mod markup;

use super::{
    super::mark,
    commands,
    facts::{self, CheckRow, Tone},
    registers,
};
use crate::digest::Digest;
use bailey_attestation::Outcome;
use bailey_model::{UnixMillis, report::Report};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use markup::{Markup, code, element, list, name, table, text};

pub(super) fn html(report: &Report, sha256: Digest) -> String {
    let (word, meaning, tone) = facts::verdict(report);
    let title = format!("{word}: attestation of {}", report.enclave_id);
    let sections = [
        header(report, word, &meaning, tone),
        element("main", "", sections(report, sha256)),
        element(
            "footer",
            "",
            element("p", "", text("Made by bailey report from the report file.")),
        ),
    ];
    let body: Markup = sections.into_iter().collect();
    // Refuses every request and every script, should a value ever slip through unescaped.
    let policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'";
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"{policy}\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <link rel=\"icon\" href=\"data:,\">\n{}<style>\n{STYLE}</style>\n</head>\n<body>\n{}</body>\n\
         </html>\n",
        element("title", "", text(&title)).into_string(),
        body.into_string(),
    )
}

const STYLE: &str = include_str!("report.css");

fn header(report: &Report, word: &str, meaning: &str, tone: Tone) -> Markup {
    let class = match tone {
        Tone::Bad if report.rejection.is_some() => "class=\"bad rejected\"",
        Tone::Bad => "class=\"bad\"",
        Tone::Good => "class=\"good\"",
        Tone::Guarded => "class=\"guarded\"",
    };
    let what = format!(
        "Attestation of enclave {}, generation {}, judged at {}",
        report.enclave_id, report.generation, report.judged_at
    );
    let mut parts = vec![
        element("p", "class=\"what\"", text(&what)),
        element("h1", "", text(word)),
        element("p", "class=\"meaning\"", text(meaning)),
    ];
    parts.push(element("p", "", text(&facts::explanation(report))));
    parts.push(element("p", "", text(&facts::count(report))));
    let cautions = facts::cautions(report).into_iter();
    parts.extend(cautions.map(|caution| element("p", "class=\"caution\"", text(caution))));
    element("header", class, parts.into_iter().collect())
}

fn sections(report: &Report, sha256: Digest) -> Markup {
    let (made, open) = facts::checks(report);
    let software: Vec<_> = report.software.iter().map(|(n, v)| (n.as_str(), v.clone())).collect();
    [
        section("What was checked", vec![checks(&made)]),
        section("What was not checked", not_checked(report, &open)),
        section("Measurements", measurements(report)),
        section("Certificate chain, root first", vec![certificates(report)]),
        section("Host", vec![pairs(&facts::host(report))]),
        section("Software", vec![pairs(&software)]),
        section("Report and its place in the chain", vec![pairs(&facts::subject(report, sha256))]),
        section("Verify it yourself", verify(report)),
    ]
    .into_iter()
    .collect()
}

fn section(title: &str, mut content: Vec<Markup>) -> Markup {
    content.insert(0, element("h2", "", text(title)));
    element("section", "", content.into_iter().collect())
}

fn not_checked(report: &Report, open: &[CheckRow]) -> Vec<Markup> {
    let limits = facts::limits(report).iter().map(|limit| text(limit)).collect();
    let this = match open {
        [] => "This one leaves out no check that there is.",
        _ => "What this one does not show:",
    };
    let mut content = vec![
        element("p", "", text("What no report can show:")),
        list(limits),
        element("p", "", text(this)),
    ];
    if !open.is_empty() {
        content.push(checks(open));
    }
    content
}

fn checks(rows: &[CheckRow]) -> Markup {
    let cells = |row: &CheckRow| {
        let check = [code(&row.name), element("small", "", text(row.purpose))];
        [check.into_iter().collect(), result(row.outcome), code(&row.expected), code(&row.found)]
    };
    table(["Check", "Result", "Expected", "Found"], rows.iter().map(cells).collect())
}

fn result(outcome: Outcome) -> Markup {
    let class = match outcome {
        Outcome::Failed => "class=\"failed\"",
        Outcome::NotChecked | Outcome::Waived => "class=\"open\"",
        Outcome::Passed => "class=\"passed\"",
    };
    element("span", class, text(&format!("{} {}", mark(outcome), facts::called(outcome))))
}

fn measurements(report: &Report) -> Vec<Markup> {
    let (rows, zero) = registers::registers(report);
    let value = |value: Option<String>| value.map_or_else(|| text("–"), |value| code(&value));
    let rows = rows.into_iter().map(|row| {
        let name = [element("b", "", text(&row.name)), element("small", "", text(row.meaning))];
        let name = name.into_iter().collect();
        [name, result(row.outcome), value(row.expected), value(row.found)]
    });
    let rows = rows.collect();
    let mut content = vec![
        element("p", "", text(registers::expectation(report))),
        table(["Register", "Result", "Expected", "Found"], rows),
    ];
    if zero > 0 {
        content.push(element("p", "", text(&format!("{zero} more registers are zero."))));
    }
    let manifest = facts::manifest(report);
    if !manifest.is_empty() {
        content.push(pairs(&manifest));
    }
    content
}

fn certificates(report: &Report) -> Markup {
    if report.certificates.is_empty() {
        let none =
            "None is shown: the document was rejected, and nothing vouches for what it holds.";
        return element("p", "", text(none));
    }
    let rows = report.certificates.iter().enumerate().map(|(index, certificate)| {
        let part = element("b", "", text(facts::part(report, index)));
        let subject = element("small", "", name(&certificate.subject));
        let instant = |at: UnixMillis| element("span", "", code(&at.to_string()));
        let valid = [instant(certificate.not_before), text(" to "), instant(certificate.not_after)];
        let certificate = code(&certificate.sha256);
        [[part, subject].into_iter().collect(), valid.into_iter().collect(), certificate]
    });
    table(["Certificate", "Valid", "SHA-256"], rows.collect())
}

fn pairs<N: AsRef<str>>(pairs: &[(N, String)]) -> Markup {
    let rows = pairs.iter().map(|(name, value)| [text(name.as_ref()), code(value)]);
    table(["Name", "Value"], rows.collect())
}

fn verify(report: &Report) -> Vec<Markup> {
    let command = |text: &str| element("pre", "tabindex=\"0\"", code(text));
    let says = "With the report file and the bailey program, on any machine, without network or \
                account. The program checks the signatures again and that the report says what \
                its signed document says.";
    let history = "The reports of an enclave form a chain: each names the SHA-256 of the one \
                   before it, and the coordinator keeps that of the last one, the head. That \
                   none is missing or edited shows with all of them and the head:";
    let mut content = vec![element("p", "", text(says)), command(&commands::command(report))];
    content.extend(commands::files(report).into_iter().map(|file| element("p", "", text(file))));
    let [fetch, chain] = commands::chain_commands(report);
    content.extend([element("p", "", text(history)), command(&fetch), command(&chain)]);
    let document = STANDARD.encode(report.document.as_slice());
    let parts = [
        element("summary", "", text("The attestation document itself, in base64")),
        command(&document),
    ];
    content.push(element("details", "", parts.into_iter().collect()));
    content
}

#[cfg(test)]
mod tests {
    use super::{super::tests::example, *};
    use bailey_model::report::SignedManifest;

    #[test]
    fn every_value_is_escaped() {
        let mut report = example();
        let evil = "<script>alert(1)</script>\"'&".to_owned();
        report.rejection = Some(evil.clone());
        report.previous = Some(evil.clone());
        report.host.instance_id.clone_from(&evil);
        report.host.role_arn = Some(evil.clone());
        report.software.insert(evil.clone(), evil.clone());
        for check in &mut report.checks {
            (check.name, check.found) = (evil.clone(), Some(evil.clone()));
        }
        for certificate in &mut report.certificates {
            certificate.subject.clone_from(&evil);
        }
        let page = html(&report, Digest::of(b""));
        assert!(!page.contains("<script"), "{page}");
        assert!(page.contains("&lt;script&gt;alert(1)&lt;/script&gt;&quot;&#39;&amp;"));
    }

    #[test]
    fn a_signed_manifest_is_named_with_its_key_and_how_to_check_it() {
        let page = html(&example(), Digest::of(b""));
        assert!(!page.contains("--manifest-key"));
        let signed = Report {
            manifest: Some(SignedManifest {
                location: "s3://images/app.manifest.json".parse().unwrap(),
                envelope: bailey_model::Base64Bytes(Vec::new()),
                key_id: "cd".repeat(32),
            }),
            ..example()
        };
        let page = html(&signed, Digest::of(b""));
        let key = "cd".repeat(32);
        for part in ["s3://images/app.manifest.json", &key, "--manifest-key KEY.pem"] {
            assert!(page.contains(part), "{part}");
        }
    }

    #[test]
    fn the_page_asks_for_nothing_and_says_its_language() {
        let page = html(&example(), Digest::of(b""));
        assert!(page.starts_with("<!DOCTYPE html>\n<html lang=\"en\">\n"));
        for request in ["http://", "https://", "src=", "url(", "@import"] {
            assert!(!page.contains(request), "{request}");
        }
        assert!(page.contains("<h1>VERIFIED</h1>"));
        assert!(page.contains("<title>VERIFIED: attestation of demo</title>"));
        assert!(page.contains("does not start at the AWS Nitro Enclaves root"));
    }

    #[test]
    fn the_page_holds_the_document_and_how_to_verify_it() {
        let page = html(&example(), Digest::of(b""));
        let root = "bailey verify report.json \\\n  --root ROOT.pem \\\n  --require-production";
        assert!(page.contains(root), "{page}");
        assert!(page.contains("bailey report demo --history DIRECTORY"), "{page}");
        assert!(page.contains("<code>AAEC</code>"), "the document in base64: {page}");
    }
}
