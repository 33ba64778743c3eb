//! A radix tree from page index to page, of which copies share what they have in common.

use std::sync::Arc;

use super::Page;

const BITS: u32 = 4;
/// Wide nodes make copying a path dear, narrow ones make it long; 16 was the best of those measured.
const FAN_OUT: usize = 1 << BITS;

/// Pages by index. A clone costs one reference count.
#[derive(Clone, Default)]
pub(super) struct Table {
    root: Option<Arc<Node>>,
    /// Levels of nodes; the lowest holds the pages.
    height: u32,
    filled: u32,
}

#[derive(Clone)]
enum Node {
    Inner([Option<Arc<Node>>; FAN_OUT]),
    Leaf([Option<Page>; FAN_OUT]),
}

impl Table {
    /// How many pages there are.
    pub(super) fn filled(&self) -> u32 {
        self.filled
    }

    pub(super) fn get(&self, index: u32) -> Option<&Page> {
        if u64::from(index) >= capacity(self.height) {
            return None;
        }
        let mut node = self.root.as_deref()?;
        let mut level = self.height;
        loop {
            level -= 1;
            match node {
                Node::Inner(children) => node = children[slot(index, level)].as_deref()?,
                Node::Leaf(pages) => return pages[slot(index, level)].as_ref(),
            }
        }
    }

    pub(super) fn set(&mut self, index: u32, page: Page) {
        while u64::from(index) >= capacity(self.height) {
            self.grow();
        }
        if set(&mut self.root, self.height - 1, index, page).is_none() {
            self.filled += 1;
        }
    }

    /// Drops every page at or above `count`.
    pub(super) fn truncate(&mut self, count: u32) {
        if self.height > 0 {
            self.filled -= cut(&mut self.root, self.height - 1, u64::from(count));
        }
    }

    fn grow(&mut self) {
        self.root = self.root.take().map(|lower| {
            let mut children = [const { None }; FAN_OUT];
            children[0] = Some(lower);
            Arc::new(Node::Inner(children))
        });
        self.height += 1;
    }
}

impl Node {
    fn empty(level: u32) -> Self {
        if level == 0 { Self::Leaf([const { None }; FAN_OUT]) } else { Self::Inner([const { None }; FAN_OUT]) }
    }

    fn filled(&self) -> u32 {
        match self {
            Self::Inner(children) => children.iter().flatten().map(|child| child.filled()).sum(),
            Self::Leaf(pages) => pages.iter().flatten().map(|_| 1).sum(),
        }
    }
}

/// Pages below a tree with so many levels.
fn capacity(height: u32) -> u64 {
    if height == 0 { 0 } else { 1 << (BITS * height) }
}

fn slot(index: u32, level: u32) -> usize {
    (index >> (BITS * level)) as usize % FAN_OUT
}

fn set(node: &mut Option<Arc<Node>>, level: u32, index: u32, page: Page) -> Option<Page> {
    let node = node.get_or_insert_with(|| Arc::new(Node::empty(level)));
    match Arc::make_mut(node) {
        Node::Inner(children) => set(&mut children[slot(index, level)], level - 1, index, page),
        Node::Leaf(pages) => pages[slot(index, level)].replace(page),
    }
}

/// Keeps the first `keep` pages below `node` and tells how many went.
fn cut(node: &mut Option<Arc<Node>>, level: u32, keep: u64) -> u32 {
    if keep == 0 {
        return node.take().map_or(0, |node| node.filled());
    }
    let Some(node) = node.as_mut().filter(|_| keep < capacity(level + 1)) else { return 0 };
    match Arc::make_mut(node) {
        Node::Inner(children) => {
            let below = capacity(level);
            (0u64..).zip(children).map(|(at, child)| cut(child, level - 1, keep.saturating_sub(at * below))).sum()
        }
        Node::Leaf(pages) => (0u64..).zip(pages).filter_map(|(at, page)| page.take_if(|_| at >= keep)).map(|_| 1).sum(),
    }
}
