//! An allocator that keeps large blocks for the next step.
//!
//! A training step allocates and frees the same few hundred maps again and again. Given back to the
//! system, each costs a page fault and a cleared page for every 4 KiB at its next use: on a server
//! of 2024 a fresh map of 33 MiB took 17 ms to touch, with huge pages 4 ms, and the 1x1 convolution
//! that fills it 11 ms. [`PoolAllocator`]
//! keeps freed blocks of [`SMALLEST`] bytes or more by size and hands them out again, and asks for
//! huge pages for those of 2 MiB or more.
//!
//! What it holds is bounded: blocks in use and kept ones together never exceed what was in use at
//! the highest point so far by more than an eighth, or by [`SPARE`] bytes if that is more. Kept
//! blocks that a new one would push over that bound go back to the system first. As with any lock, a
//! process that forks must not allocate in the child before it executes another program.

use std::alloc::{GlobalAlloc, Layout, System};
use std::ptr::null_mut;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Bytes of the smallest block that is kept; smaller ones are the system allocator's.
pub const SMALLEST: usize = 64 << 10;

/// Bytes that may always be kept: a model whose maps are small would map and unmap them in every
/// step for a bound that saves nothing.
pub const SPARE: usize = 64 << 20;

/// Bytes of a huge page, and of the smallest block that is mapped with them.
#[cfg(target_os = "linux")]
const HUGE_PAGE: usize = 2 << 20;

/// Bytes that every block is aligned to; layouts that ask for more are the system allocator's.
const ALIGN: usize = 4096;

/// Sizes between a power of two and the next: blocks are at most a quarter larger than asked for.
const STEPS: usize = 4;

/// Classes of sizes, up to 2^40 bytes.
const CLASSES: usize = STEPS * 24 + 1;

/// An allocator for `#[global_allocator]`; see the [module](self).
#[derive(Debug, Clone, Copy, Default)]
pub struct PoolAllocator;

/// Bytes that the pool answers for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PoolUse {
    /// In blocks that are in use, sizes rounded up.
    pub used: usize,
    /// The highest value of `used` so far.
    pub most_used: usize,
    /// In freed blocks that are kept.
    pub kept: usize,
}

/// The pool: a list of freed blocks for every class, linked through their first bytes.
struct Pool {
    free: [*mut u8; CLASSES],
    bytes: PoolUse,
}

// SAFETY: the lists' blocks belong to the pool alone.
unsafe impl Send for Pool {}

static POOL: Mutex<Pool> = Mutex::new(Pool {
    free: [null_mut(); CLASSES],
    bytes: PoolUse {
        used: 0,
        most_used: 0,
        kept: 0,
    },
});

/// The class of the smallest blocks that hold a layout; none for layouts of the system allocator.
fn class(layout: Layout) -> Option<usize> {
    let size = layout.size();
    if size < SMALLEST || layout.align() > ALIGN {
        return None;
    }
    let octave = (size / SMALLEST).ilog2() as usize;
    let step = (SMALLEST << octave) / STEPS;
    let class = octave * STEPS + (size - (SMALLEST << octave)).div_ceil(step);
    let possible = class < CLASSES && block_size(class) <= isize::MAX as usize - ALIGN;
    possible.then_some(class)
}

/// Bytes of a block of a class.
fn block_size(class: usize) -> usize {
    let octave = SMALLEST << (class / STEPS);
    octave + octave / STEPS * (class % STEPS)
}

fn pool() -> MutexGuard<'static, Pool> {
    // Nothing panics while it is locked.
    POOL.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Pool {
    /// A kept block of a class.
    fn take(&mut self, class: usize) -> Option<*mut u8> {
        let at = self.free[class];
        if at.is_null() {
            return None;
        }
        // SAFETY: the first bytes of a kept block link to the next one; blocks are large enough and
        // aligned for a pointer.
        self.free[class] = unsafe { at.cast::<*mut u8>().read() };
        self.bytes.kept -= block_size(class);
        Some(at)
    }

    fn keep(&mut self, at: *mut u8, class: usize) {
        // SAFETY: the block was freed: it is the pool's.
        unsafe { at.cast::<*mut u8>().write(self.free[class]) };
        self.free[class] = at;
        self.bytes.kept += block_size(class);
    }

    /// Gives kept blocks back until used and kept ones together have at most `most` bytes, the
    /// largest first: they are the fewest.
    fn trim(&mut self, most: usize) {
        let room = most.saturating_sub(self.bytes.used);
        for class in (0..CLASSES).rev() {
            while self.bytes.kept > room {
                let Some(at) = self.take(class) else { break };
                // SAFETY: a block of this class that nobody uses.
                unsafe { unmap(at, class) };
            }
        }
    }
}

/// A block in use: a kept one, whose bytes are arbitrary, or a new one, whose bytes are zero; null
/// if there is no memory.
enum Block {
    Kept(*mut u8),
    New(*mut u8),
}

fn get(class: usize) -> Block {
    let size = block_size(class);
    {
        let mut pool = pool();
        pool.bytes.used += size;
        if let Some(at) = pool.take(class) {
            pool.bytes.most_used = pool.bytes.most_used.max(pool.bytes.used);
            return Block::Kept(at);
        }
        let most_used = pool.bytes.most_used.max(pool.bytes.used);
        pool.trim(most_used + (most_used / 8).max(SPARE));
    }
    let mut at = map(class);
    if at.is_null() {
        // What is kept may be what is missing.
        pool().trim(0);
        at = map(class);
    }
    let mut pool = pool();
    if at.is_null() {
        pool.bytes.used -= size;
    } else {
        pool.bytes.most_used = pool.bytes.most_used.max(pool.bytes.used);
    }
    Block::New(at)
}

/// Frees a block of a class.
fn put(at: *mut u8, class: usize) {
    let mut pool = pool();
    pool.bytes.used -= block_size(class);
    pool.keep(at, class);
}

impl PoolAllocator {
    /// What the pool holds.
    pub fn bytes() -> PoolUse {
        pool().bytes
    }
}

// SAFETY: blocks of a class are at least as large as the layouts of the class and aligned to 4096
// bytes; a block is handed out once until it is freed, with the layout it was allocated with.
unsafe impl GlobalAlloc for PoolAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        match class(layout) {
            Some(class) => match get(class) {
                Block::Kept(at) | Block::New(at) => at,
            },
            // SAFETY: as this function's.
            None => unsafe { System.alloc(layout) },
        }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        match class(layout).map(get) {
            Some(Block::New(at)) => at,
            Some(Block::Kept(at)) => {
                // SAFETY: the block holds at least the layout's size.
                unsafe { at.write_bytes(0, layout.size()) };
                at
            }
            // SAFETY: as this function's.
            None => unsafe { System.alloc_zeroed(layout) },
        }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        match class(layout) {
            Some(class) => put(at, class),
            // SAFETY: as this function's.
            None => unsafe { System.dealloc(at, layout) },
        }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller's size is valid for the alignment.
        let new = unsafe { Layout::from_size_align_unchecked(size, layout.align()) };
        let (from, to) = (class(layout), class(new));
        // SAFETY: as this function's; what is copied is the smaller of both sizes.
        unsafe {
            match (from, to) {
                (None, None) => System.realloc(at, layout, size),
                (from, to) if from == to => at,
                _ => {
                    let moved = self.alloc(new);
                    if !moved.is_null() {
                        moved.copy_from_nonoverlapping(at, layout.size().min(size));
                        self.dealloc(at, layout);
                    }
                    moved
                }
            }
        }
    }
}

/// The layout in which the system allocator knows blocks of a class.
fn system_layout(class: usize) -> Layout {
    Layout::from_size_align(block_size(class), ALIGN).expect("at most 2^40 bytes")
}

/// New memory, zeroed; null if there is none.
#[cfg(not(target_os = "linux"))]
fn map(class: usize) -> *mut u8 {
    // SAFETY: the size is not 0.
    unsafe { System.alloc_zeroed(system_layout(class)) }
}

/// Gives memory back.
///
/// # Safety
///
/// `at` is a block of this class from [`map`], and nobody uses it.
#[cfg(not(target_os = "linux"))]
unsafe fn unmap(at: *mut u8, class: usize) {
    // SAFETY: allocated with the same layout.
    unsafe { System.dealloc(at, system_layout(class)) }
}

/// New memory, zeroed; null if there is none.
#[cfg(target_os = "linux")]
fn map(class: usize) -> *mut u8 {
    let size = block_size(class);
    if size < HUGE_PAGE {
        // SAFETY: the size is not 0.
        return unsafe { System.alloc_zeroed(system_layout(class)) };
    }
    // SAFETY: a new anonymous mapping, of which the parts outside of the aligned block are given
    // back; the advice has no effect on its contents.
    unsafe {
        let (access, kind) = (
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
        );
        let whole = libc::mmap(null_mut(), size + HUGE_PAGE, access, kind, -1, 0);
        if whole == libc::MAP_FAILED {
            return null_mut();
        }
        let whole = whole.cast::<u8>();
        let before = whole.align_offset(HUGE_PAGE);
        let at = whole.add(before);
        if before > 0 {
            libc::munmap(whole.cast(), before);
        }
        libc::munmap(at.add(size).cast(), HUGE_PAGE - before);
        libc::madvise(at.cast(), size, libc::MADV_HUGEPAGE);
        at
    }
}

/// Gives memory back.
///
/// # Safety
///
/// `at` is a block of this class from [`map`], and nobody uses it.
#[cfg(target_os = "linux")]
unsafe fn unmap(at: *mut u8, class: usize) {
    let size = block_size(class);
    // SAFETY: allocated with the same layout, or mapped with this size.
    unsafe {
        if size < HUGE_PAGE {
            System.dealloc(at, system_layout(class));
        } else {
            libc::munmap(at.cast(), size);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_pointer_width = "64")]
    fn blocks_hold_what_was_asked_for_and_little_more() {
        let sizes = (0..4000).map(|i| SMALLEST + i * 12_347);
        for size in sizes.chain([1 << 30, (1 << 30) + 1, (1 << 40) - 1]) {
            let layout = Layout::from_size_align(size, 4).unwrap();
            let block = block_size(class(layout).unwrap());
            assert!(
                block >= size && block - size <= size / STEPS,
                "{size}: {block}"
            );
        }
    }

    #[test]
    #[cfg(target_pointer_width = "64")]
    fn small_and_huge_sizes_are_the_system_allocators() {
        for size in [1, SMALLEST - 1, 1 << 42] {
            let layout = Layout::from_size_align(size, 4).unwrap();
            assert_eq!(class(layout), None, "{size}");
        }
    }

    /// What a process sees: allocations of all kinds, written and read, and the bound on what is
    /// kept. One test, as the pool is one.
    #[test]
    fn memory_is_kept_within_the_bound_and_holds_its_contents() {
        let within = || {
            let bytes = PoolAllocator::bytes();
            bytes.used + bytes.kept <= bytes.most_used + (bytes.most_used / 8).max(SPARE)
        };
        let layout = |size: usize| Layout::from_size_align(size, 4).unwrap();
        // SAFETY: every block is used within its layout and freed once.
        unsafe {
            let fill = |at: *mut u8, size: usize, with: u8| at.write_bytes(with, size);
            let sizes = [100_000, 3 << 20, 70_000, 5_000_000, 33 << 20];
            for round in 0..3 {
                let blocks = sizes.map(|size| {
                    let at = PoolAllocator.alloc(layout(size));
                    fill(at, size, 7);
                    at
                });
                let known = PoolAllocator::bytes().kept;
                assert!(round == 0 || known == 0, "all kept blocks are used again");
                for (at, size) in blocks.into_iter().zip(sizes) {
                    assert_eq!((*at, *at.add(size - 1)), (7, 7));
                    PoolAllocator.dealloc(at, layout(size));
                }
                assert!(within());
            }
            // Of another size: kept blocks make room.
            let size = 50 << 20;
            let at = PoolAllocator.alloc_zeroed(layout(size));
            assert!(within());
            fill(at, size, 1);
            PoolAllocator.dealloc(at, layout(size));
            let at = PoolAllocator.alloc_zeroed(layout(size));
            assert!((0..size).step_by(4096).all(|i| *at.add(i) == 0));
            fill(at, size, 3);
            for new in [size + 1, 70 << 20, 1 << 20, 1000] {
                let size = new.min(size);
                let at = PoolAllocator.alloc(layout(size));
                fill(at, size, 9);
                let at = PoolAllocator.realloc(at, layout(size), new);
                assert!((0..size.min(new)).step_by(100).all(|i| *at.add(i) == 9));
                PoolAllocator.dealloc(at, layout(new));
            }
            PoolAllocator.dealloc(at, layout(size));
            assert_eq!(PoolAllocator::bytes().used, 0);
            assert!(within());
        }
    }
}
