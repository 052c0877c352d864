//! SVG, as far as a chart needs it: a text that grows.

use std::fmt::Write;

/// A picture.
#[derive(Debug)]
pub(crate) struct Svg {
    text: String,
}

/// How a text lies to its point.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Anchor {
    Start,
    Middle,
    End,
}

impl Svg {
    /// An empty picture of so many pixels, with these styles.
    pub(crate) fn new(width: f64, height: f64, style: &str) -> Self {
        let text = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\">\n\
             <style>{style}</style>\n<rect class=\"paper\" width=\"{width}\" height=\"{height}\"/>\n"
        );
        Self { text }
    }

    pub(crate) fn rect(&mut self, class: &str, (x, y): (f64, f64), (width, height): (f64, f64)) {
        let (width, height) = (width.max(0.5), height.max(0.5));
        // Writing to a string does not fail.
        let _ = writeln!(
            self.text,
            "<rect class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\"/>"
        );
    }

    /// A path in the commands of SVG; nothing of an empty one.
    pub(crate) fn path(&mut self, class: &str, commands: &str) {
        if !commands.is_empty() {
            let _ = writeln!(self.text, "<path class=\"{class}\" d=\"{commands}\"/>");
        }
    }

    pub(crate) fn text(&mut self, class: &str, (x, y): (f64, f64), anchor: Anchor, text: &str) {
        let anchor = match anchor {
            Anchor::Start => "start",
            Anchor::Middle => "middle",
            Anchor::End => "end",
        };
        let _ = write!(
            self.text,
            "<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">"
        );
        for c in text.chars() {
            match c {
                '<' => self.text.push_str("&lt;"),
                '>' => self.text.push_str("&gt;"),
                '&' => self.text.push_str("&amp;"),
                // Not of XML.
                c if c.is_control() => self.text.push(' '),
                c => self.text.push(c),
            }
        }
        self.text.push_str("</text>\n");
    }

    pub(crate) fn finish(mut self) -> String {
        self.text.push_str("</svg>\n");
        self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_from_a_file_can_t_become_markup() {
        let mut svg = Svg::new(1.0, 1.0, "");
        svg.text("t", (0.0, 0.0), Anchor::Start, "</text><script>&\u{0}");
        let text = svg.finish();
        assert!(
            text.contains("&lt;/text&gt;&lt;script&gt;&amp; </text>"),
            "{text}"
        );
    }
}
