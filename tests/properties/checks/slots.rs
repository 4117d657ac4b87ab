//! Several texts in one cache, each as if it were alone.

use logitspec::TokenId;
use logitspec::runtime::{DecodeError, ScriptedModel, SlotPart, TargetModel};
use logitspec::tree::{DraftTree, NodeId, ROOT, TreeLimits};

use super::tree::{self, Growth};

/// An event: its kind (see [`Run::handle`]), a slot, a parameter, and what a pass decodes for each
/// slot.
pub type Event = (u8, u8, u8, Vec<Part>);

/// A slot, a parameter, and a tree or tokens of a prompt.
pub type Part = (u8, u8, Vec<Growth>);

const CELLS: usize = 120;
const LEAVES: usize = 5;

struct Run {
    model: ScriptedModel,
    /// Whether cells keep the order of plain decoding.
    ordered: bool,
    /// The committed text of each slot. The cache may lack its end.
    texts: Vec<Vec<TokenId>>,
}

/// What one slot does in a pass.
struct Turn {
    slot: usize,
    tokens: Vec<TokenId>,
    tree: Option<DraftTree>,
    path: Vec<NodeId>,
}

impl Run {
    fn turn(&self, (slot, number, growths): &Part) -> Turn {
        let slot = usize::from(*slot) % self.texts.len();
        let mut tokens = self.texts[slot][self.model.n_past(slot)..].to_vec();
        if number % 3 == 0 {
            tokens.extend((0..=number % 16).map(TokenId::from));
            return Turn {
                slot,
                tokens,
                tree: None,
                path: Vec::new(),
            };
        }
        let limits = TreeLimits {
            capacity: 12,
            leaves: LEAVES,
            depth: usize::MAX,
        };
        let tree = tree::grown(limits, growths);
        let mut path = super::kv::some_path(&tree, *number);
        if self.ordered {
            let principal = tree.principal_path().zip(&path);
            path.truncate(principal.take_while(|(a, b)| a == *b).count());
        }
        Turn {
            slot,
            tokens,
            tree: Some(tree),
            path,
        }
    }

    /// Decodes a pass, and checks what every node says.
    fn pass(&mut self, parts: &[Part]) {
        let mut turns: Vec<Turn> = Vec::new();
        for part in parts {
            let turn = self.turn(part);
            if turns.iter().all(|other| other.slot != turn.slot) {
                turns.push(turn);
            }
        }
        let parts: Vec<_> = turns.iter().map(Turn::part).collect();
        let held: usize = (0..self.texts.len()).map(|it| self.model.n_past(it)).sum();
        let wanted: usize = parts.iter().map(SlotPart::len).sum();
        match self.model.decode(&parts) {
            Ok(()) => {}
            Err(DecodeError::NoRoom { .. }) => {
                // Cells that are set aside may be of no use to these slots. But one slot alone can
                // always go on.
                assert!(wanted > 0);
                let alone = self.texts.iter().filter(|text| !text.is_empty()).count() <= 1;
                assert!(!alone || held + wanted > CELLS, "there was room");
                return;
            }
            Err(error) => panic!("{error}"),
        }
        for turn in &turns {
            self.check_rows(turn);
        }
        for Turn {
            slot, tree, path, ..
        } in turns
        {
            if let Some(tree) = &tree {
                self.model.commit(slot, tree, &path);
            }
            self.texts[slot] = self.model.cached(slot).to_vec();
        }
    }

    /// Each node says what the model says after its own text alone.
    fn check_rows(&self, turn: &Turn) {
        let mut text = self.texts[turn.slot].clone();
        match &turn.tree {
            None => {
                let new = self.model.cached(turn.slot);
                assert!(new.starts_with(&text), "the text is another one");
                let row = self.model.row(turn.slot, ROOT);
                assert_eq!(row.logits(), self.model.logits_after(new));
            }
            Some(tree) => {
                text.push(tree.token(ROOT));
                for node in ROOT..tree.len() {
                    let mut path = text.clone();
                    tree.append_path(node, &mut path);
                    let row = self.model.row(turn.slot, node);
                    let slot = turn.slot;
                    assert_eq!(
                        row.logits(),
                        self.model.logits_after(&path),
                        "of slot {slot}"
                    );
                }
            }
        }
    }

    fn handle(&mut self, (kind, slot, number, parts): &Event) {
        let slot = usize::from(*slot) % self.texts.len();
        let len = usize::from(*number) % (self.model.n_past(slot) + 1);
        match kind % 8 {
            0 => {
                self.model.truncate(slot, len);
                self.texts[slot].truncate(len);
            }
            1 => {
                let to = (slot + 1) % self.texts.len();
                self.model.truncate(to, 0);
                self.texts[to].clear();
                if to != slot {
                    self.model.share(slot, to, len);
                    self.texts[to] = self.texts[slot][..len].to_vec();
                }
            }
            _ => self.pass(parts),
        }
        let mut held = 0;
        for (slot, text) in self.texts.iter().enumerate() {
            let n_past = self.model.n_past(slot);
            self.model.assert_slot_holds(slot, &text[..n_past]);
            held += n_past;
        }
        assert!(self.model.free() + held >= CELLS, "cells are lost");
    }
}

impl Turn {
    fn part(&self) -> SlotPart<'_> {
        SlotPart {
            slot: self.slot,
            tokens: &self.tokens,
            tree: self.tree.as_ref(),
        }
    }
}

/// Handles `events` with so many slots.
pub fn check(slots: usize, ordered: bool, events: &[Event]) {
    let model = ScriptedModel::new(16, 4, 3, CELLS, LEAVES).with_slots(slots);
    let mut model = match ordered {
        true => model,
        false => model.ignoring_cell_order(),
    };
    model.keep_order(ordered);
    let mut run = Run {
        model,
        ordered,
        texts: vec![Vec::new(); slots],
    };
    for event in events {
        run.handle(event);
    }
    // At the end every cell can be had again.
    for slot in 0..slots {
        run.model.truncate(slot, 0);
    }
    assert_eq!(run.model.free(), CELLS);
    let prompt: Vec<TokenId> = (0..CELLS).map(|at| (at % 16) as TokenId).collect();
    run.model.append(0, &prompt).unwrap();
    assert_eq!(run.model.used_cells(), CELLS);
}
