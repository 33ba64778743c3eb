//! The code in a document, as a reader copies it.

use std::path::Path;

/// A block of code.
pub(crate) struct Block {
    /// What stands behind its fence.
    pub(crate) language: String,
    pub(crate) text: String,
    /// What a comment in the line above it says, which readers of the page do not see.
    pub(crate) mark: Option<String>,
}

/// A document of this repository, by its path from the root.
pub(crate) fn document(path: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// All code of a document, in its order.
pub(crate) fn blocks(document: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut before = "";
    let mut lines = document.lines();
    while let Some(line) = lines.next() {
        if let Some(language) = line.strip_prefix("```") {
            let text = lines.by_ref().take_while(|line| *line != "```").fold(String::new(), |text, line| text + line + "\n");
            let mark = before.strip_prefix("<!-- ").and_then(|rest| rest.strip_suffix(" -->")).map(str::to_owned);
            blocks.push(Block { language: language.to_owned(), text, mark });
        }
        before = line;
    }
    blocks
}

/// The mark of what needs more than the test bench has: a scheduler, nodes, Helm.
const IN_A_CLUSTER: &str = "in a cluster";

/// All code of a document in one language as one program, which runs `between` before each block; and what the document says that each of
/// them prints. What is marked as for a cluster is left out.
pub(crate) fn program(document: &str, language: &str, between: &str) -> (String, Vec<String>) {
    let (mut program, mut shown) = (String::new(), Vec::new());
    for block in blocks(document).into_iter().filter(|block| block.mark.as_deref() != Some(IN_A_CLUSTER)) {
        match block.language.as_str() {
            found if found == language => {
                program += between;
                program += &block.text;
                shown.push(String::new());
            }
            "text" => *shown.last_mut().unwrap() = block.text,
            other => panic!("nothing knows how to follow a block of {other:?}"),
        }
    }
    (program, shown)
}

/// What a block of commands prints is told from what the next one does.
const BETWEEN_COMMANDS: &str = "printf '\n---\n'\n";

/// All commands of a document as one script, and what the document says that each block prints: [`printed`] tells what it did.
pub(crate) fn script(document: &str) -> (String, Vec<String>) {
    let (script, shown) = program(document, "sh", BETWEEN_COMMANDS);
    (script, shown.iter().map(|text| text.trim_end().to_owned()).collect())
}

/// What each block of a [`script`] printed.
pub(crate) fn printed(all: &str) -> Vec<String> {
    all.split("\n---\n").skip(1).map(|text| text.trim_end().to_owned()).collect()
}

/// A text with what there is here in the place of what it shows.
pub(crate) fn adapted<const N: usize>(text: String, changes: [(&str, String); N]) -> String {
    changes.into_iter().fold(text, |text, (shown, here)| {
        assert!(text.contains(shown), "there is {shown} in it: {text}");
        text.replace(shown, &here)
    })
}
