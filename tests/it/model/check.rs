//! Visits every state that a small world can come to, breadth first, so that the first history
//! found is the shortest. Says whether something is ever wrong, and whether rest is always near.

use std::collections::HashMap;
use std::fmt::Display;
use std::hash::Hash;
use std::rc::Rc;

/// A world small enough to be visited whole.
pub trait Model {
    type State: Eq + Hash;
    type Event: Display;

    fn first(&self) -> Self::State;
    /// Every event that can happen now, and what is so after it.
    fn next(&self, state: &Self::State) -> Vec<(Self::Event, Self::State)>;
    /// Whether an event is trouble, which nobody may wait for.
    fn is_trouble(&self, event: &Self::Event) -> bool;
    /// What is wrong with a state.
    fn wrong(&self, state: &Self::State) -> Option<&'static str>;
    /// Whether nothing is left to do.
    fn is_rest(&self, state: &Self::State) -> bool;
}

/// What was visited.
#[derive(Debug, Clone, Copy)]
pub struct Visited {
    pub states: usize,
    pub steps: usize,
    pub rests: usize,
}

/// The shortest history that leads to something wrong.
#[derive(Debug)]
pub struct Broken {
    pub why: &'static str,
    pub history: Vec<String>,
}

/// What is wrong with a state from which rest cannot be reached without more trouble.
pub const NO_REST: &str = "I12: it never comes to rest";

/// The states, in the order in which they were first reached.
struct Graph<'a, M: Model> {
    model: &'a M,
    numbers: HashMap<Rc<M::State>, usize>,
    states: Vec<Rc<M::State>>,
    /// How each state was first reached.
    reached: Vec<Option<(usize, M::Event)>>,
    /// Steps that are no trouble, backwards.
    before: Vec<Vec<usize>>,
}

impl<M: Model> Graph<'_, M> {
    /// The number of a state; a new one if it was not known.
    fn number(
        &mut self,
        state: M::State,
        how: impl FnOnce() -> Option<(usize, M::Event)>,
    ) -> usize {
        let state = Rc::new(state);
        let number = *self
            .numbers
            .entry(Rc::clone(&state))
            .or_insert(self.states.len());
        if number == self.states.len() {
            self.states.push(state);
            self.reached.push(how());
            self.before.push(Vec::new());
        }
        number
    }

    fn broken(&self, why: &'static str, mut at: usize) -> Broken {
        let mut history = Vec::new();
        while let Some((from, event)) = &self.reached[at] {
            history.push(event.to_string());
            at = *from;
        }
        history.reverse();
        Broken { why, history }
    }

    /// The states from which rest can be reached without more trouble.
    fn can_rest(&self, mut reached: Vec<usize>) -> Vec<bool> {
        let mut can = vec![false; self.states.len()];
        while let Some(at) = reached.pop() {
            if !std::mem::replace(&mut can[at], true) {
                reached.extend(&self.before[at]);
            }
        }
        can
    }
}

/// Visits everything.
///
/// # Errors
/// The shortest history to anything wrong.
pub fn visit<M: Model>(model: &M) -> Result<Visited, Broken> {
    let (numbers, states, reached, before) = (HashMap::new(), Vec::new(), Vec::new(), Vec::new());
    let mut graph = Graph {
        model,
        numbers,
        states,
        reached,
        before,
    };
    graph.number(model.first(), || None);
    let (mut at, mut steps, mut rests) = (0, 0, Vec::new());
    while let Some(state) = graph.states.get(at).cloned() {
        if let Some(why) = graph.model.wrong(&state) {
            return Err(graph.broken(why, at));
        }
        if graph.model.is_rest(&state) {
            rests.push(at);
        }
        for (event, next) in graph.model.next(&state) {
            steps += 1;
            let is_trouble = graph.model.is_trouble(&event);
            let number = graph.number(next, || Some((at, event)));
            if !is_trouble {
                graph.before[number].push(at);
            }
        }
        at += 1;
    }
    let visited = Visited {
        states: graph.states.len(),
        steps,
        rests: rests.len(),
    };
    match graph.can_rest(rests).iter().position(|can| !can) {
        Some(stuck) => Err(graph.broken(NO_REST, stuck)),
        None => Ok(visited),
    }
}
