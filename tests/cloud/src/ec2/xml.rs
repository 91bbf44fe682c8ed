//! The XML of EC2's answers: elements and text, nothing else.

use quick_xml::escape::escape;
use std::{
    borrow::Cow,
    fmt::{self, Display},
};

/// One element, or the children of one.
#[derive(Clone, Debug)]
pub(super) struct Xml {
    name: Cow<'static, str>,
    namespace: Option<&'static str>,
    content: String,
}

impl Xml {
    /// An empty element.
    pub(super) fn element(name: &'static str) -> Self {
        Self { name: name.into(), namespace: None, content: String::new() }
    }

    /// Children for an element that is not known yet.
    pub(super) fn fragment() -> Self {
        Self::element("")
    }

    /// An answer's outermost element, in the namespace of EC2's API version.
    pub(super) fn answer(action: &str, request_id: &str) -> Self {
        let namespace = Some("http://ec2.amazonaws.com/doc/2016-11-15/");
        Self { namespace, name: format!("{action}Response").into(), content: String::new() }
            .text("requestId", request_id)
    }

    /// With a child that holds `text`, escaped.
    pub(super) fn text(self, name: &'static str, text: impl Display) -> Self {
        let content = escape(text.to_string()).into_owned();
        self.child(Self { content, ..Self::element(name) })
    }

    /// With a child that holds `text`, when there is one.
    pub(super) fn some(self, name: &'static str, text: Option<impl Display>) -> Self {
        match text {
            Some(text) => self.text(name, text),
            None => self,
        }
    }

    /// With another child.
    pub(super) fn child(mut self, child: impl Display) -> Self {
        self.content.push_str(&child.to_string());
        self
    }

    /// With a child that holds an `item` for each of `items`.
    pub(super) fn set(self, name: &'static str, items: impl IntoIterator<Item = Self>) -> Self {
        let set = items
            .into_iter()
            .fold(Self::element(name), |set, item| set.child(Self { name: "item".into(), ..item }));
        self.child(set)
    }
}

impl Display for Xml {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.name.is_empty() {
            return f.write_str(&self.content);
        }
        match self.namespace {
            Some(namespace) => write!(f, "<{} xmlns=\"{namespace}\">", self.name)?,
            None => write!(f, "<{}>", self.name)?,
        }
        write!(f, "{}</{}>", self.content, self.name)
    }
}

/// The whole answer around its outermost element.
pub(super) fn document(root: &Xml) -> String {
    format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n{root}")
}
