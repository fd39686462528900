/* The loop of src/walras/market/_order_kernel.py in C, for the ratio in bench_auctions.py: same layout, same rule, same records.
 * Without amendments and expiry, which the stream of the benchmark does not contain; everything it does contain is checked equal. */
#include <stdint.h>

enum { ID, PARTICIPANT, CELL, QUANTITY, TIME, PREVIOUS, NEXT, SIDE };
enum { LIVE, FREE, TOP, NEXT_GATE, CLOCK };
enum { RESTING = 1, FILLED, LAPSED, CANCELLED, UNKNOWN_ORDER = -1, NOT_OWNER = -2, DUPLICATE_ID = -3, BAD_PRICE = -4,
       BAD_QUANTITY = -5, GATE_CLOSED = -6, WOULD_CROSS = -7, UNKNOWN_SLOT = -8, BAD_KIND = -9, BACK_IN_TIME = -10 };

typedef int64_t i64;
typedef uint64_t u64;

typedef struct {
    i64 (*nodes)[8]; int32_t (*levels)[2]; u64 *words; i64 (*lanes)[3]; int32_t *table; i64 *marks;
    i64 lowest, tick, width, bits, first_slot, lane_count, words_per_lane, mask, shift;
} Book;

static inline i64 home(const Book *b, i64 id) { return (i64)(((u64)id * 0x9E3779B97F4A7C15ull) >> b->shift); }

static inline i64 find(const Book *b, i64 id) {
    i64 place = home(b, id);
    while (b->table[place] >= 0 && b->nodes[b->table[place]][ID] != id) place = (place + 1) & b->mask;
    return place;
}

static inline void erase(Book *b, i64 place) {
    i64 hole = place;
    for (;;) {
        place = (place + 1) & b->mask;
        int32_t node = b->table[place];
        if (node < 0) break;
        i64 at = home(b, b->nodes[node][ID]);
        if (((place - at) & b->mask) >= ((place - hole) & b->mask)) { b->table[hole] = node; hole = place; }
    }
    b->table[hole] = -1;
}

static inline i64 next_up(const Book *b, i64 lane, i64 level) {
    const u64 *words = b->words + lane * b->words_per_lane;
    if (++level >= b->width) return b->width;
    i64 index = level >> 6;
    u64 word = words[index] & (~0ull << (level & 63));
    while (!word) { if (++index >= b->words_per_lane) return b->width; word = words[index]; }
    return (index << 6) + __builtin_ctzll(word);
}

static inline i64 next_down(const Book *b, i64 lane, i64 level) {
    const u64 *words = b->words + lane * b->words_per_lane;
    if (--level < 0) return level;
    i64 index = level >> 6;
    u64 word = words[index] & (~0ull >> (63 - (level & 63)));
    while (!word) { if (--index < 0) return index; word = words[index]; }
    return (index << 6) + 63 - __builtin_clzll(word);
}

static inline void link_order(Book *b, i64 lane, i64 level, i64 side, i64 id, i64 participant, i64 quantity, i64 time, i64 place) {
    i64 node = b->marks[FREE];
    if (node >= 0) b->marks[FREE] = b->nodes[node][NEXT]; else node = b->marks[TOP]++;
    b->marks[LIVE]++;
    i64 cell = (lane << b->bits) + level, last = b->levels[cell][1], *row = b->nodes[node];
    row[ID] = id; row[PARTICIPANT] = participant; row[CELL] = cell; row[QUANTITY] = quantity;
    row[TIME] = time; row[PREVIOUS] = last; row[NEXT] = -1; row[SIDE] = side;
    b->levels[cell][1] = (int32_t)node;
    if (last >= 0) b->nodes[last][NEXT] = node;
    else {
        b->levels[cell][0] = (int32_t)node;
        b->words[lane * b->words_per_lane + (level >> 6)] |= 1ull << (level & 63);
        if (side > 0) { if (level > b->lanes[lane][0]) b->lanes[lane][0] = level; }
        else if (level < b->lanes[lane][1]) b->lanes[lane][1] = level;
    }
    b->table[place] = (int32_t)node;
}

static inline void unlink_order(Book *b, i64 node) {
    i64 cell = b->nodes[node][CELL], before = b->nodes[node][PREVIOUS], after = b->nodes[node][NEXT];
    if (before >= 0) b->nodes[before][NEXT] = after; else b->levels[cell][0] = (int32_t)after;
    if (after >= 0) b->nodes[after][PREVIOUS] = before; else b->levels[cell][1] = (int32_t)before;
    if (before < 0 && after < 0) {
        i64 lane = cell >> b->bits, level = cell - (lane << b->bits);
        b->words[lane * b->words_per_lane + (level >> 6)] &= ~(1ull << (level & 63));
        if (level == b->lanes[lane][0]) b->lanes[lane][0] = next_down(b, lane, level);
        else if (level == b->lanes[lane][1]) b->lanes[lane][1] = next_up(b, lane, level);
    }
    b->nodes[node][NEXT] = b->marks[FREE];
    b->marks[FREE] = node;
    b->marks[LIVE]--;
}

static inline void note(i64 *removed, i64 stride, i64 k, i64 e, i64 id, i64 participant, i64 slot, i64 quantity, i64 reason) {
    removed[k] = e; removed[stride + k] = id; removed[2 * stride + k] = participant;
    removed[3 * stride + k] = slot; removed[4 * stride + k] = quantity; removed[5 * stride + k] = reason;
}

/* counts[0], counts[1]: number of fills and removals. fills is [8, stride], removed [6, stride]. */
void run_events(i64 (*nodes)[8], int32_t (*levels)[2], u64 *words, i64 (*lanes)[3], int32_t *table, i64 *marks, const i64 *grid,
                i64 table_bits, i64 n, const int8_t *kind, const int8_t *type, const int8_t *sides, const i64 *ids,
                const i64 *participants, const i64 *slots, const i64 *quantities, const i64 *prices, const i64 *times,
                i64 *fills, i64 *removed, i64 stride, int8_t *status, i64 *filled, i64 *counts) {
    Book book = {nodes, levels, words, lanes, table, marks, grid[0], grid[1], grid[2], grid[3], grid[4], grid[5],
                 (grid[2] + 63) / 64, ((i64)1 << table_bits) - 1, 64 - table_bits};
    Book *b = &book;
    i64 n_fills = 0, n_removed = 0;
    for (i64 e = 0; e < n; e++) {
        i64 now = times[e];
        if (now < marks[CLOCK]) { status[e] = BACK_IN_TIME; continue; }
        marks[CLOCK] = now;
        i64 id = ids[e], place = find(b, id), node = table[place], participant = participants[e], quantity = quantities[e];
        i64 side = sides[e], lane = slots[e] - b->first_slot;
        int flavour = type[e];
        if (kind[e] != 0) {
            if (node < 0) { status[e] = UNKNOWN_ORDER; continue; }
            if (nodes[node][PARTICIPANT] != participant) { status[e] = NOT_OWNER; continue; }
            if (kind[e] != 1) { status[e] = BAD_KIND; continue; }
            lane = nodes[node][CELL] >> b->bits;
            note(removed, stride, n_removed++, e, id, participant, b->first_slot + lane, nodes[node][QUANTITY], 0);
            erase(b, place);
            unlink_order(b, node);
            status[e] = CANCELLED;
            continue;
        }
        if (node >= 0) { status[e] = DUPLICATE_ID; continue; }
        if (lane < 0 || lane >= b->lane_count) { status[e] = UNKNOWN_SLOT; continue; }
        if (lanes[lane][2] <= now) { status[e] = GATE_CLOSED; continue; }
        if (flavour != 0 || (side != 1 && side != -1)) { status[e] = BAD_KIND; continue; }
        if (quantity <= 0) { status[e] = BAD_QUANTITY; continue; }
        i64 above = prices[e] - b->lowest, limit = above / b->tick;
        if (above < 0 || limit >= b->width || limit * b->tick != above) { status[e] = BAD_PRICE; continue; }
        i64 *best = &lanes[lane][side > 0 ? 1 : 0], left = quantity;
        while (left > 0) {
            i64 level = *best;
            if (level < 0 || level >= b->width || (limit - level) * side < 0) break;
            i64 maker = levels[(lane << b->bits) + level][0], *row = nodes[maker];
            i64 energy = left < row[QUANTITY] ? left : row[QUANTITY];
            left -= energy;
            row[QUANTITY] -= energy;
            i64 *f = fills + n_fills++;
            f[0] = e; f[stride] = b->first_slot + lane;
            f[2 * stride] = side > 0 ? id : row[ID]; f[3 * stride] = side > 0 ? row[ID] : id;
            f[4 * stride] = side > 0 ? participant : row[PARTICIPANT]; f[5 * stride] = side > 0 ? row[PARTICIPANT] : participant;
            f[6 * stride] = energy; f[7 * stride] = b->lowest + level * b->tick;
            if (row[QUANTITY] == 0) { erase(b, find(b, row[ID])); unlink_order(b, maker); }
        }
        filled[e] = quantity - left;
        if (left == 0) status[e] = FILLED;
        else { link_order(b, lane, limit, side, id, participant, left, now, find(b, id)); status[e] = RESTING; }
    }
    counts[0] = n_fills;
    counts[1] = n_removed;
}
