//! A report as one page that needs nothing else: no script, no request, no font.

mod markup;

use super::{
    super::mark,
    facts::{self, CheckRow, Tone},
};
use crate::digest::Digest;
use bailey_attestation::Outcome;
use bailey_model::report::Report;
use markup::{Markup, code, element, list, table, text};

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
    let policy =
        "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'";
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
    let cautions = facts::cautions(report).into_iter();
    parts.extend(cautions.map(|caution| element("p", "class=\"caution\"", text(caution))));
    element("header", class, parts.into_iter().collect())
}

fn sections(report: &Report, sha256: Digest) -> Markup {
    let (made, open) = facts::checks(report);
    let limits = facts::limits(report).iter().map(|limit| text(limit)).collect();
    let software: Vec<_> = report.software.iter().map(|(n, v)| (n.as_str(), v.clone())).collect();
    [
        section("What was checked", vec![checks(&made)]),
        section("What was not checked", vec![list(limits), checks(&open)]),
        section("Measurements", measurements(report)),
        section("Certificate chain, root first", vec![certificates(report)]),
        section("Host", vec![pairs(&facts::host(report))]),
        section("Software", vec![pairs(&software)]),
        section("Report", vec![pairs(&facts::subject(report, sha256))]),
        section("Verify it yourself", verify(report)),
    ]
    .into_iter()
    .collect()
}

fn section(title: &str, mut content: Vec<Markup>) -> Markup {
    content.insert(0, element("h2", "", text(title)));
    element("section", "", content.into_iter().collect())
}

fn checks(rows: &[CheckRow]) -> Markup {
    let cells = |row: &CheckRow| {
        let name = [code(&row.name), element("small", "", text(row.purpose))];
        [name.into_iter().collect(), result(row.outcome), code(&row.text)]
    };
    table(["Check", "Result", "Found"], rows.iter().map(cells).collect())
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
    let (rows, zero) = facts::registers(report);
    let value = |value: Option<String>| value.map_or_else(|| text("–"), |value| code(&value));
    let rows = rows
        .into_iter()
        .map(|row| [text(&row.name), result(row.outcome), value(row.expected), value(row.found)]);
    let rows = rows.collect();
    let mut content = vec![
        element("p", "", text(facts::expectation(report))),
        table(["Register", "Result", "Expected", "Found"], rows),
    ];
    if zero > 0 {
        content.push(element("p", "", text(&format!("{zero} more registers are zero."))));
    }
    content
}

fn certificates(report: &Report) -> Markup {
    let rows = report.certificates.iter().map(|certificate| {
        let validity = facts::validity(certificate);
        [code(&certificate.subject), code(&validity), code(&certificate.sha256)]
    });
    table(["Subject", "Valid", "SHA-256"], rows.collect())
}

fn pairs<N: AsRef<str>>(pairs: &[(N, String)]) -> Markup {
    let rows = pairs.iter().map(|(name, value)| [text(name.as_ref()), code(value)]);
    table(["Name", "Value"], rows.collect())
}

fn verify(report: &Report) -> Vec<Markup> {
    let says = "With the report file and the bailey program, on any machine, without network or \
                account. The program checks the signatures again and that the report says what \
                its signed document says.";
    let history = "That no report of the enclave's history is missing or edited shows with the \
                   history's head:";
    vec![
        element("p", "", text(says)),
        element("pre", "tabindex=\"0\"", code(&facts::command(report))),
        element("p", "", text(history)),
        element("pre", "tabindex=\"0\"", code("bailey verify --chain DIRECTORY --head SHA256")),
    ]
}

#[cfg(test)]
mod tests {
    use super::{super::tests::example, *};

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
}
