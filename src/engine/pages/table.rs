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

    /// Puts a page there and returns the one before.
    pub(super) fn set(&mut self, index: u32, page: Page) -> Option<Page> {
        let before = self.place(index).replace(page);
        self.filled += u32::from(before.is_none());
        before
    }

    /// Puts a page there and returns the one that is not used any more: that one, if its bytes could go into the one that was there, which
    /// then keeps its place in memory beside those of its neighbours.
    pub(super) fn update(&mut self, index: u32, page: Page) -> Option<Page> {
        let place = self.place(index);
        if let Some(present) = place
            && present.overwrite(page.bytes())
        {
            return Some(page);
        }
        let before = place.replace(page);
        self.filled += u32::from(before.is_none());
        before
    }

    fn place(&mut self, index: u32) -> &mut Option<Page> {
        while u64::from(index) >= capacity(self.height) {
            self.grow();
        }
        place(&mut self.root, self.height - 1, index)
    }

    /// Drops every page at or above `count`, each after `look` has seen it.
    pub(super) fn truncate(&mut self, count: u32, mut look: impl FnMut(&Page)) {
        if self.height > 0 {
            self.filled -= cut(&mut self.root, self.height - 1, u64::from(count), &mut look);
        }
    }

    /// Shows each page.
    pub(super) fn visit(&self, mut look: impl FnMut(&Page)) {
        if let Some(root) = &self.root {
            root.visit(&mut look);
        }
    }

    /// The indexes, in order, at which not both have the same page.
    pub(super) fn differences(&self, other: &Self) -> Vec<u32> {
        let mut found = Vec::new();
        let height = self.height.max(other.height);
        if height > 0 {
            differences(self.raised(height).as_ref(), other.raised(height).as_ref(), height - 1, 0, &mut found);
        }
        found
    }

    /// The root of the same table with so many levels.
    fn raised(&self, height: u32) -> Option<Arc<Node>> {
        let mut table = self.clone();
        while table.height < height {
            table.grow();
        }
        table.root
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

    /// Shows each page below and tells how many there are.
    fn visit(&self, look: &mut impl FnMut(&Page)) -> u32 {
        match self {
            Self::Inner(children) => children.iter().flatten().map(|child| child.visit(look)).sum(),
            Self::Leaf(pages) => pages.iter().flatten().inspect(|page| look(page)).map(|_| 1).sum(),
        }
    }

    fn child(&self, at: usize) -> Option<&Arc<Self>> {
        match self {
            Self::Inner(children) => children[at].as_ref(),
            Self::Leaf(_) => None,
        }
    }

    fn page(&self, at: usize) -> Option<&Page> {
        match self {
            Self::Leaf(pages) => pages[at].as_ref(),
            Self::Inner(_) => None,
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

/// Where the page goes. Nodes on the way that somebody else holds are copied.
fn place(node: &mut Option<Arc<Node>>, level: u32, index: u32) -> &mut Option<Page> {
    let node = node.get_or_insert_with(|| Arc::new(Node::empty(level)));
    match Arc::make_mut(node) {
        Node::Inner(children) => place(&mut children[slot(index, level)], level - 1, index),
        Node::Leaf(pages) => &mut pages[slot(index, level)],
    }
}

/// Keeps the first `keep` pages below `node` and tells how many went.
fn cut(node: &mut Option<Arc<Node>>, level: u32, keep: u64, look: &mut impl FnMut(&Page)) -> u32 {
    if keep == 0 {
        return node.take().map_or(0, |node| node.visit(look));
    }
    let Some(node) = node.as_mut().filter(|_| keep < capacity(level + 1)) else { return 0 };
    match Arc::make_mut(node) {
        Node::Inner(children) => {
            let below = capacity(level);
            (0u64..).zip(children).map(|(at, child)| cut(child, level - 1, keep.saturating_sub(at * below), look)).sum()
        }
        Node::Leaf(pages) => {
            let gone = (0u64..).zip(pages).filter_map(|(at, page)| page.take_if(|_| at >= keep));
            gone.inspect(|page| look(page)).map(|_| 1).sum()
        }
    }
}

/// Two trees that grew from one share most nodes, and what is shared is equal.
fn differences(one: Option<&Arc<Node>>, other: Option<&Arc<Node>>, level: u32, first: u32, found: &mut Vec<u32>) {
    match (one, other) {
        (None, None) => return,
        (Some(one), Some(other)) if Arc::ptr_eq(one, other) => return,
        _ => {}
    }
    for at in 0..FAN_OUT {
        // Fits: an index has no more bits than all levels together.
        #[allow(clippy::cast_possible_truncation, reason = "below the fan-out")]
        let index = first + ((at as u32) << (BITS * level));
        if level > 0 {
            differences(one.and_then(|node| node.child(at)), other.and_then(|node| node.child(at)), level - 1, index, found);
            continue;
        }
        let is_same = match (one.and_then(|node| node.page(at)), other.and_then(|node| node.page(at))) {
            (Some(one), Some(other)) => one.is(other) || one.bytes() == other.bytes(),
            (one, other) => one.is_none() && other.is_none(),
        };
        if !is_same {
            found.push(index);
        }
    }
}
