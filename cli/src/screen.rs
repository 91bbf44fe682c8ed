//! Where a watch is shown: a live line on a terminal, plain lines anywhere else.

use crate::{
    output::{self, Audience, PrintError},
    render,
    watching::Line,
};
use indicatif::{ProgressBar, ProgressFinish, ProgressStyle};
use std::{
    io::{self, IsTerminal as _},
    time::Duration,
};

/// Shows the lines of a watch.
#[derive(Debug)]
pub(crate) enum Screen {
    /// Lines that stay, and below them one that shows what is going on.
    Live(ProgressBar),
    /// Lines only.
    Plain,
}

/// How often the live line is drawn anew.
const TICK: Duration = Duration::from_millis(120);

impl Screen {
    /// Chooses by what standard output is.
    pub(crate) fn open() -> Self {
        if !io::stdout().is_terminal() {
            return Self::Plain;
        }
        // Lines go to standard output and the live line to the same terminal, so that the two do
        // not overwrite each other.
        let bar = ProgressBar::with_draw_target(None, indicatif::ProgressDrawTarget::stdout())
            .with_finish(ProgressFinish::AndClear)
            .with_style(spinner());
        bar.enable_steady_tick(TICK);
        Self::Live(bar)
    }

    /// Shows a line; progress moves the live line instead, where there is one.
    pub(crate) fn show(&self, line: &Line) -> Result<Audience, PrintError> {
        match (self, line) {
            (Self::Live(bar), Line::Progress { progress, .. }) => {
                bar.set_style(download());
                bar.set_length(progress.total_bytes);
                bar.set_position(progress.done_bytes);
                return Ok(Audience::Present);
            }
            (Self::Live(bar), Line::Phase { phase, .. }) => {
                bar.set_style(spinner());
                bar.set_message(output::harmless(&output::one_line(phase)));
                bar.reset_elapsed();
            }
            _ => {}
        }
        self.print(&render::line(line))
    }

    /// Shows a line that stays.
    pub(crate) fn print(&self, text: &str) -> Result<Audience, PrintError> {
        match self {
            Self::Live(bar) => {
                bar.println(output::harmless(text));
                Ok(Audience::Present)
            }
            Self::Plain => output::print(&format!("{text}\n")),
        }
    }

    /// Shows the last line and takes the live one away.
    pub(crate) fn close(self, text: &str) -> Result<Audience, PrintError> {
        if let Self::Live(bar) = &self {
            bar.finish_and_clear();
        }
        output::print(&format!("{text}\n"))
    }
}

fn spinner() -> ProgressStyle {
    style("         {spinner} {msg} {elapsed}")
}

fn download() -> ProgressStyle {
    style("         {spinner} {msg} [{bar:32}] {binary_bytes} of {binary_total_bytes} {elapsed}")
}

/// A template that could not be read would leave the usual bar, which says enough.
fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_live_lines_templates_are_valid() {
        assert!(ProgressStyle::with_template("{spinner} {msg} {elapsed}").is_ok());
        let _ = (spinner(), download());
    }
}
