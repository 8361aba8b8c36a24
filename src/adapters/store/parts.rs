//! Parts: some dozens of jobs, stored one after the other, share their records. What sled asks for is CPU time for each
//! record, hardly for its length.
//!
//! The events of a part lie in *chunks*, which are written once and end when they are full. Their states lie together in
//! one record, a *slot* for each job, which is written anew when a commit changes some of them. A slot also has the outline of its
//! job, for lists. A state that is too long
//! for its slot (a history with many words) has a record of its own. An event that is too long for a chunk has some
//! chunks for itself.

use std::{borrow::Cow, mem};

use super::{
    codec::{Damage, In, Out},
    disk::VALUE_BYTES_MAX,
    outline::{OUTLINE_BYTES_MAX, Outline},
    record::{self, Standing},
};
use crate::domain::job::JobId;

/// The most jobs of a part.
pub(super) const JOBS_MAX: usize = 46;

/// The longest state that a slot holds, in bytes: one attempt and a few words. A full part still fits a record.
pub(super) const SLOT_BYTES_MAX: usize = 104;

/// No part has more chunks, so that their number fits a byte.
const CHUNKS_MAX: usize = 250;

const FORM: u8 = 1;

/// The form of the record of a part's states. In form 1 they were without outlines.
const SLOTS_FORM: u8 = 2;

const _: () = assert!(
    JOBS_MAX * (16 + 1 + OUTLINE_BYTES_MAX + 1 + SLOT_BYTES_MAX) < VALUE_BYTES_MAX,
    "a full part must fit a record"
);

/// What a part says of one of its jobs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Slot<'a> {
    /// The job.
    pub(super) id: JobId,
    /// The chunk in which its event begins.
    pub(super) chunk: u8,
    /// What a list asks of it; none in a store of format 2 or older.
    pub(super) outline: Option<Outline>,
    /// Its state.
    pub(super) state: SlotState<'a>,
}

/// A job's state, as a slot has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum SlotState<'a> {
    /// All of it.
    Here(Cow<'a, [u8]>),
    /// It is long and has a record of its own.
    Own(Standing),
}

impl SlotState<'_> {
    /// A state half where it belongs: in the slot, or in a record of its own.
    pub(super) fn place(state: Vec<u8>) -> Result<SlotState<'static>, Damage> {
        if state.len() <= SLOT_BYTES_MAX {
            Ok(SlotState::Here(state.into()))
        } else {
            record::standing(&state).map(SlotState::Own)
        }
    }

    /// The same, with its own bytes.
    pub(super) fn into_owned(self) -> SlotState<'static> {
        match self {
            Self::Here(state) => SlotState::Here(state.into_owned().into()),
            Self::Own(standing) => SlotState::Own(standing),
        }
    }

    /// Where the job stands.
    pub(super) fn standing(&self) -> Result<Standing, Damage> {
        match self {
            Self::Here(state) => record::standing(state),
            Self::Own(standing) => Ok(*standing),
        }
    }
}

/// The record of a part's states, which always fits. A part of format 2 may have more jobs than one of today: where their
/// outlines have no room, all of them go.
pub(super) fn fit_slots(slots: &mut [Slot<'_>]) -> Vec<u8> {
    let encoded = encode_slots(slots);
    if encoded.len() <= VALUE_BYTES_MAX {
        return encoded;
    }
    for slot in slots.iter_mut() {
        slot.outline = None;
    }
    encode_slots(slots)
}

/// The record of a part's states.
fn encode_slots(slots: &[Slot<'_>]) -> Vec<u8> {
    let mut out = Out::form(SLOTS_FORM, 1 + 80 * slots.len());
    for slot in slots {
        out.fixed(&slot.id.to_bytes());
        out.byte(slot.chunk);
        Outline::write(slot.outline.as_ref(), &mut out);
        match &slot.state {
            SlotState::Here(state) => out.bytes(state),
            SlotState::Own(standing) => out.fixed(&[0, standing.code()]),
        }
    }
    out.done()
}

/// Reads the record of a part's states: the jobs in the order of their ids.
pub(super) fn decode_slots(bytes: &[u8]) -> Result<Vec<Slot<'_>>, Damage> {
    let mut read = In::new(bytes);
    let form = slots_form(&mut read)?;
    let mut slots = Vec::with_capacity(JOBS_MAX);
    while !read.is_empty() {
        slots.push(read_slot(form, &mut read)?);
    }
    Ok(slots)
}

/// As many slots as can be read, and whether these are all: for a record that is damaged.
pub(super) fn decode_slots_so_far(bytes: &[u8]) -> (Vec<Slot<'_>>, Result<(), Damage>) {
    let mut read = In::new(bytes);
    let mut slots: Vec<Slot<'_>> = Vec::new();
    let form = match slots_form(&mut read) {
        Ok(form) => form,
        Err(why) => return (slots, Err(why)),
    };
    let mut outcome = Ok(());
    while outcome.is_ok() && !read.is_empty() {
        outcome = read_slot(form, &mut read).map(|slot| slots.push(slot));
    }
    (slots, outcome)
}

/// The slot of one job.
pub(super) fn find_slot(bytes: &[u8], id: JobId) -> Result<Option<Slot<'_>>, Damage> {
    let mut read = In::new(bytes);
    let form = slots_form(&mut read)?;
    while !read.is_empty() {
        let slot = read_slot(form, &mut read)?;
        if slot.id >= id {
            return Ok((slot.id == id).then_some(slot));
        }
    }
    Ok(None)
}

fn slots_form(read: &mut In<'_>) -> Result<u8, Damage> {
    read.form_of(&[FORM, SLOTS_FORM])
}

fn read_slot<'a>(form: u8, read: &mut In<'a>) -> Result<Slot<'a>, Damage> {
    let id = JobId::from_bytes(read.fixed()?);
    let chunk = read.byte()?;
    let outline = if form == FORM { None } else { Outline::read(read)? };
    let state = match read.bytes()? {
        [] => SlotState::Own(Standing::from_code(read.byte()?)?),
        state => SlotState::Here(state.into()),
    };
    Ok(Slot { id, chunk, outline, state })
}

/// What a chunk holds of one event.
pub(super) struct Piece<'a> {
    /// The length of the whole.
    pub(super) len: usize,
    /// As much of it as is in this chunk; the rest, if any, is all there is in the chunks that follow.
    pub(super) bytes: &'a [u8],
}

/// The event of one job in its chunk.
pub(super) fn find_event(chunk: &[u8], id: JobId) -> Result<Option<Piece<'_>>, Damage> {
    let mut read = In::new(chunk);
    read.form(FORM)?;
    while !read.is_empty() {
        let (found, piece) = read_piece(&mut read)?;
        if found == id {
            return Ok(Some(piece));
        }
    }
    Ok(None)
}

fn read_piece<'a>(read: &mut In<'a>) -> Result<(JobId, Piece<'a>), Damage> {
    let id = JobId::from_bytes(read.fixed()?);
    let len = usize::try_from(read.number()?).map_err(|_| Damage::Code("length"))?;
    let bytes = read.slice(len.min(read.len()))?;
    Ok((id, Piece { len, bytes }))
}

/// A chunk of short events without those that are not kept.
pub(super) fn retain_events(chunk: &[u8], keep: impl Fn(JobId) -> bool) -> Result<Vec<u8>, Damage> {
    let mut read = In::new(chunk);
    read.form(FORM)?;
    let mut out = Out::form(FORM, VALUE_BYTES_MAX);
    while !read.is_empty() {
        let (id, piece) = read_piece(&mut read)?;
        if keep(id) {
            put_piece(&mut out, id, &piece);
        }
    }
    Ok(out.done())
}

fn put_event(out: &mut Out, id: JobId, event: &[u8]) {
    put_piece(out, id, &Piece { len: event.len(), bytes: event });
}

fn put_piece(out: &mut Out, id: JobId, piece: &Piece<'_>) {
    out.fixed(&id.to_bytes());
    out.number(piece.len as u64);
    out.fixed(piece.bytes);
}

/// How many chunks an event half of `len` bytes takes up that begins a chunk of its own.
pub(super) fn chunks_of(len: usize) -> usize {
    (1 + entry_bytes(len)).div_ceil(VALUE_BYTES_MAX)
}

/// At most so many bytes does an event half of `len` bytes take in a chunk.
fn entry_bytes(len: usize) -> usize {
    16 + (if len < 1 << 14 { 2 } else { 3 }) + len
}

/// Packs new jobs into the part that is still open.
pub(super) struct Packer {
    jobs_max: usize,
    open: Option<OpenPart>,
}

struct OpenPart {
    /// The part: the id of its first job.
    first: JobId,
    jobs: usize,
    /// The number of the last chunk.
    chunk: u8,
    /// The last chunk as far as it is filled; empty when it takes no more.
    content: Vec<u8>,
    /// The last chunk has changed since it was last handed out.
    is_dirty: bool,
}

/// Where a new job has gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Packed {
    /// Its part.
    pub(super) part: JobId,
    /// The chunk in which its event begins.
    pub(super) chunk: u8,
}

/// A chunk to be written: its part, its number and its content.
pub(super) type Chunk = (JobId, u8, Vec<u8>);

impl Packer {
    /// A packer of parts of so many jobs.
    pub(super) fn new(jobs_max: usize) -> Self {
        Self { jobs_max: jobs_max.min(JOBS_MAX), open: None }
    }

    /// The part that is still open.
    pub(super) fn open_part(&self) -> Option<JobId> {
        self.open.as_ref().map(|open| open.first)
    }

    /// Opens no part again: what it remembers of the open one is no longer so.
    pub(super) fn close(&mut self) {
        self.open = None;
    }

    /// Finds room for a new job, whose id is greater than all before. Chunks that are full go to `full`.
    pub(super) fn pack(&mut self, id: JobId, event: &[u8], full: &mut Vec<Chunk>) -> Packed {
        let pieces = chunks_of(event.len());
        let is_full = |open: &OpenPart| open.jobs >= self.jobs_max || usize::from(open.chunk) + pieces > CHUNKS_MAX;
        if self.open.as_ref().is_none_or(is_full) {
            full.extend(self.unfinished());
            self.open = Some(OpenPart { first: id, jobs: 0, chunk: 0, content: Vec::new(), is_dirty: false });
        }
        let open = self.open.as_mut().expect("it was opened just now");
        if open.content.is_empty() || open.content.len() + entry_bytes(event.len()) > VALUE_BYTES_MAX {
            full.extend(open.unfinished());
            open.chunk += u8::from(open.jobs > 0);
            open.content = Out::form(FORM, VALUE_BYTES_MAX).done();
        }
        let mut out = Out::from(mem::take(&mut open.content));
        put_event(&mut out, id, event);
        open.content = out.done();
        open.is_dirty = true;
        open.jobs += 1;
        let packed = Packed { part: open.first, chunk: open.chunk };
        if open.content.len() > VALUE_BYTES_MAX {
            let content = mem::take(&mut open.content);
            let chunks = (packed.chunk..).zip(content.chunks(VALUE_BYTES_MAX));
            full.extend(chunks.map(|(chunk, content)| (packed.part, chunk, content.to_vec())));
            open.chunk += u8::try_from(pieces - 1).expect("at most CHUNKS_MAX");
            open.is_dirty = false;
        }
        packed
    }

    /// The last chunk, if it has changed since it was last handed out.
    pub(super) fn unfinished(&mut self) -> Option<Chunk> {
        self.open.as_mut()?.unfinished()
    }
}

impl OpenPart {
    fn unfinished(&mut self) -> Option<Chunk> {
        mem::take(&mut self.is_dirty).then(|| (self.first, self.chunk, self.content.clone()))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::domain::event::EVENT_BYTES_MAX;

    fn id(number: u128) -> JobId {
        JobId::from_bytes(number.to_be_bytes())
    }

    #[test]
    fn slots_come_back_as_they_went() {
        let slots: Vec<Slot<'_>> = (0..JOBS_MAX)
            .map(|number| Slot {
                id: id(number as u128 * 3),
                chunk: u8::try_from(number).expect("46"),
                outline: None,
                state: match number % 2 {
                    0 => SlotState::Here(vec![1; SLOT_BYTES_MAX].into()),
                    _ => SlotState::Own(Standing::Flagged),
                },
            })
            .collect();
        let bytes = encode_slots(&slots);
        assert_eq!(decode_slots(&bytes).as_deref(), Ok(&slots[..]));
        assert_eq!(find_slot(&bytes, id(9)), Ok(Some(slots[3].clone())));
        assert_eq!(find_slot(&bytes, id(10)), Ok(None));
        for cut in 0..bytes.len() {
            let _ = decode_slots(&bytes[..cut]);
        }
        assert!(decode_slots(&bytes[..bytes.len() - 1]).is_err());
    }

    /// As many jobs as a part of format 2 had at the most.
    #[test]
    fn a_part_of_an_older_store_keeps_its_room_and_does_without_outlines() {
        let full = [1, 0, 0xff, 0xff, 0x7f, 0, 1, 0, 2, 0, 3];
        let outline = Outline::read(&mut In::new(&full)).expect("an outline");
        let slots = |count: usize| -> Vec<Slot<'_>> {
            let state = || SlotState::Here(vec![1; SLOT_BYTES_MAX].into());
            (0..count).map(|number| Slot { id: id(number as u128), chunk: 0, outline, state: state() }).collect()
        };
        for (count, has_outlines) in [(JOBS_MAX, true), (48, false)] {
            let mut slots = slots(count);
            let encoded = fit_slots(&mut slots);
            assert!(encoded.len() <= VALUE_BYTES_MAX && decode_slots(&encoded).as_deref() == Ok(&slots[..]));
            assert!(slots.iter().all(|slot| slot.outline.is_some() == has_outlines), "{count}");
        }
    }

    #[test]
    fn events_of_any_length_are_found_again() {
        let mut packer = Packer::new(JOBS_MAX);
        let mut chunks: BTreeMap<(JobId, u8), Vec<u8>> = BTreeMap::new();
        let edge = VALUE_BYTES_MAX - 1 - 16 - 2;
        let lengths = [0, 1, 1_400, edge, edge + 1, 100, EVENT_BYTES_MAX + 500, 2 * edge, 16_383, 16_384, 3, 3];
        let mut jobs = Vec::new();
        for (number, len) in (1..).zip(lengths.into_iter().cycle().take(400)) {
            let event = vec![u8::try_from(number % 251).expect("small"); len];
            let mut written = Vec::new();
            let packed = packer.pack(id(number), &event, &mut written);
            // Now and then there is a commit.
            if number % 5 < 2 {
                written.extend(packer.unfinished());
            }
            assert!(written.iter().all(|(.., content)| content.len() <= VALUE_BYTES_MAX));
            chunks.extend(written.into_iter().map(|(part, chunk, content)| ((part, chunk), content)));
            jobs.push((id(number), packed.part, packed.chunk, event));
        }
        chunks.extend(packer.unfinished().map(|(part, chunk, content)| ((part, chunk), content)));
        for (id, part, chunk, event) in &jobs {
            let piece = find_event(&chunks[&(*part, *chunk)], *id).expect("sound").expect("there");
            let mut whole = piece.bytes.to_vec();
            for next in chunk + 1.. {
                if whole.len() >= piece.len {
                    break;
                }
                whole.extend(&chunks[&(*part, next)]);
            }
            assert!(whole == *event, "{id:?}");
            let last = usize::from(*chunk) + chunks_of(event.len()) - 1;
            assert!(chunks.contains_key(&(*part, u8::try_from(last).expect("few chunks"))));
        }
        let in_part = |part| jobs.iter().filter(|(_, of, ..)| *of == part).count();
        assert!(jobs.iter().all(|(_, part, ..)| in_part(*part) <= JOBS_MAX));
    }

    #[test]
    fn the_first_chunk_of_a_long_event_stays_as_it_is() {
        let mut packer = Packer::new(JOBS_MAX);
        let mut chunks = Vec::new();
        packer.pack(id(1), &vec![7; 30_000], &mut chunks);
        let (_, _, first) = &chunks[0];
        assert_eq!(&retain_events(first, |_| true).expect("sound"), first);
    }

    #[test]
    fn a_chunk_forgets_what_is_not_kept() {
        let mut packer = Packer::new(JOBS_MAX);
        for number in 1..=3 {
            packer.pack(id(number), b"event", &mut Vec::new());
        }
        let (_, _, chunk) = packer.unfinished().expect("it has changed");
        let kept = retain_events(&chunk, |kept| kept != id(2)).expect("sound");
        assert!(find_event(&kept, id(2)).expect("sound").is_none());
        assert_eq!(find_event(&kept, id(3)).expect("sound").map(|piece| piece.bytes.to_vec()), Some(b"event".to_vec()));
    }
}
