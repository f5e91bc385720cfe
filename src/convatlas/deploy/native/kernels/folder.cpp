// convatlas.h: what work.py, stored.py and engine.py do with a deployed folder, once more in C++, for programs without Python. Maps are
// laid out for one image; several images are so many parts.
#include "convatlas.h"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#ifndef __wasm__
#include <thread>
#endif

#include "json.h"
#include "library.h"

#ifdef __wasm__                                         // the C++ library's own would write to a file, and there is none
[[noreturn]] void std::__libcpp_verbose_abort(const char* why, ...) noexcept { refuse(why); }
#endif

namespace {
constexpr int64_t MOST = int64_t(1) << 31;              // of any number in a file
constexpr int64_t ROOM = int64_t(1) << 34;              // numbers in one piece of memory
constexpr int64_t BEYOND = 64, LARGE = 1 << 21, LINE = 64, TALLEST = 64, WORTH = 400, NEAR = 1 << 19;      // as in engine.py and work.py
constexpr int64_t BANDS = -2;                           // a choice that tells the rows of a chain
const std::pair<const char*, Kind> KINDS[] = {{"conv", CONV}, {"depthwise", DEPTHWISE}, {"maxpool", MAXPOOL}, {"avgpool", AVGPOOL},
                                              {"mean", MEAN}, {"add", ADD}, {"multiply", MULTIPLY}, {"affine", AFFINE},
                                              {"layernorm", LAYERNORM}, {"response", RESPONSE}, {"copy", COPY}, {"pad", PAD},
                                              {"replicate", REPLICATE}, {"nearest", NEAREST}, {"bilinear", BILINEAR},
                                              {"adaptive", ADAPTIVE}, {"transposed", TRANSPOSED}, {"offsets", OFFSETS}, {"rbf", RBF},
                                              {"output", OUTPUT}, {"quantize", QUANTIZE}, {"dequantize", DEQUANTIZE},
                                              {"qconv", QCONV}, {"qdepthwise", QDEPTHWISE}, {"qmaxpool", QMAXPOOL},
                                              {"qavgpool", QAVGPOOL}, {"qmean", QMEAN}, {"qadd", QADD},
                                              {"qmultiply", QMULTIPLY}, {"qaffine", QAFFINE}, {"qcopy", QCOPY}};
const std::pair<const char*, Activation> ACTIVATIONS[] = {{"none", NONE}, {"relu", RELU}, {"relu6", RELU6}, {"silu", SILU},
                                                          {"hardswish", HARDSWISH}, {"sigmoid", SIGMOID},
                                                          {"hardsigmoid", HARDSIGMOID}, {"gelu", GELU}, {"tanh", TANH},
                                                          {"scaledtanh", SCALEDTANH}, {"leakyrelu", LEAKYRELU}, {"elu", ELU},
                                                          {"mish", MISH}};

// Memory at the start of a line of the cache, all zero; on large pages where there is much.
class Room {
    std::unique_ptr<void, decltype(&std::free)> whole{nullptr, std::free};

  public:
    float* at = nullptr;
    int64_t size = 0;
    explicit Room(int64_t count = 0) : size(count) {
        if (!count) return;
        if (count > ROOM) refuse("it needs more memory than any network here");
        const int64_t page = count * 4 >= LARGE ? LARGE : LINE;
        whole.reset(std::calloc(size_t(count * 4 + page), 1));
        if (!whole) no_memory();
        at = reinterpret_cast<float*>((reinterpret_cast<uintptr_t>(whole.get()) + page - 1) / page * page);
        if (page == LARGE) convatlas_large_pages(at, count * 4 / LARGE * LARGE);
    }
};

enum Type { F32, I8, I32, U8 };

struct Array {
    const float* at = nullptr;                          // null: there is none; of another type where `type` says so
    std::vector<int64_t> shape;
    Type type = F32;
};

struct Buffer {
    int64_t pixels, stride;
    int root;                                           // whose memory it has: its own number, or another's
    int64_t wide;                                       // bytes of a number
    int64_t start = -1;
    int64_t size() const { return over(pixels * stride * wide, 64) * 16; }      // floats, in whole lines of the cache
};

struct Map {
    int buffer = -1;                                    // -1: the network's image
    int64_t h = 0, w = 0, c = 0, channel = 0;
};

struct Work {
    std::string name, kind_name;
    Kind kind;
    Activation activation;
    Map source, result, other;
    bool has_other, counts_padding;
    int64_t kernel[2], stride[2], padding[2], dilation[2] = {1, 1}, groups, flat[3];
    double epsilon;
    Array weight, bias, before, scale, table;
    int64_t zeros[3] = {}, bounds[2] = {};
    bool is_flat;
    bool on_bytes() const { return kind >= QUANTIZE && kind <= QCOPY; }
    bool float_result() const { return kind == DEQUANTIZE || (kind == QCONV && !bounds[0] && !bounds[1]); }
    // `small_groups` and `row_by_row` of work.py
    bool small_groups() const {
        const int64_t each = source.c / groups;
        return kind == CONV && groups > 1 && (each == 4 || each == 8) && result.c == source.c && each * groups == source.c &&
               source.c % CHANNELS == 0 && kernel[0] == 3 && kernel[1] == 3 && stride[0] == stride[1] && stride[0] <= 2 && dilation[0] == 1 &&
               dilation[1] == 1 && !before.at && !is_flat && source.buffer >= 0;
    }
    bool row_by_row() const {
        const int64_t size = kernel[0], step = stride[0];
        return kind == DEPTHWISE && kernel[1] == size && stride[1] == step && dilation[0] == 1 && dilation[1] == 1 &&
               (size == 3 || size == 5 || size == 7) && (step == 1 || (step == 2 && size < 7));
    }
    bool by_rows() const {                              // `_by_rows` of work.py
        if (kind == CONV) return source.h > 1 && !is_flat && !can_winograd();
        return row_by_row() || kind == MAXPOOL || kind == LAYERNORM || kind == AFFINE || kind == MULTIPLY || kind == ADD;
    }
    bool can_winograd() const {
        return kind == CONV && kernel[0] == 3 && kernel[1] == 3 && stride[0] == 1 && stride[1] == 1 && dilation[0] == 1 && dilation[1] == 1 &&
               groups == 1 && !before.at && source.buffer >= 0;
    }
};

struct Choice {
    int64_t kind, tile, gather, by_channels;
};

#ifdef __wasm__
struct Lock {};                                         // one thread
#else
typedef std::mutex Lock;

std::string read_file(const std::string& path, int64_t most) {
    std::unique_ptr<FILE, int (*)(FILE*)> file(std::fopen(path.c_str(), "rb"), std::fclose);
    if (!file) refuse("'" + path + "' cannot be opened: " + std::strerror(errno));
    std::string found;
    char piece[1 << 16];
    while (size_t got = std::fread(piece, 1, sizeof piece, file.get())) {
        found.append(piece, got);
        if (int64_t(found.size()) > most) refuse("'" + path + "' is larger than anything convatlas writes");
    }
    if (std::ferror(file.get())) refuse("'" + path + "' cannot be read");
    return found;
}
#endif

int64_t whole(const Json& value, int64_t least = 1) {
    if (value.of != Json::WHOLE || value.whole < least || value.whole >= MOST) refuse("a number is out of its range");
    return value.whole;
}

const Json& in(const Json& list, size_t i, size_t count) {
    if (list.as(Json::LIST, "a list").list.size() != count) refuse("a list has another length");
    return list.list[i];
}

template <class Of, size_t N>
Of named(const std::pair<const char*, Of> (&table)[N], const std::string& name) {
    for (const auto& each : table)
        if (name == each.first) return each.second;
    refuse("there is no '" + name + "' in this version");
}

int64_t checked(int64_t a, int64_t b) {
    if (a < 0 || b < 0 || (b && a > ROOM / b)) refuse("a size is out of its range");
    return a * b;
}

// IEEE's sixteen bits as thirty-two; without the processor's help, which not every one has.
float of_half(uint16_t bits) {
    const uint32_t sign = uint32_t(bits >> 15) << 31, power = bits >> 10 & 31, rest = bits & 1023;
    if (!power) return (sign ? -1.0f : 1.0f) * float(rest) * 5.9604645e-8f;        // 2⁻²⁴: below the normal numbers
    const uint32_t wide = sign | (power == 31 ? 255 : power + 112) << 23 | rest << 13;
    float found;
    std::memcpy(&found, &wide, sizeof found);
    return found;
}

// The arrays of a safetensors file, where they lie in it; those of half precision in memory of their own.
std::map<std::string, Array> arrays_of(const char* file, int64_t bytes, std::vector<Room>& widened) {
    uint64_t head = 0;
    if (bytes < 8) refuse("its weights are cut off");
    std::memcpy(&head, file, 8);
    if (head > uint64_t(bytes) - 8 || head % 4) refuse("its weights are cut off");
    const Json tree = Reader(file + 8, head).all();
    const char* data = file + 8 + head;
    const int64_t size = bytes - 8 - int64_t(head);
    std::map<std::string, Array> found;
    for (const auto& each : tree.as(Json::TABLE, "the head of the weights").table) {
        if (each.first == "__metadata__") continue;
        Array array;
        int64_t count = 1;
        for (const Json& n : each.second["shape"].as(Json::LIST, "a shape").list) array.shape.push_back(whole(n, 0)), count = checked(count, n.whole);
        const Json& place = each.second["data_offsets"];
        const int64_t from = in(place, 0, 2).whole, to = in(place, 1, 2).whole;
        const std::string& type = each.second["dtype"].text;
        const int64_t wide = type == "F32" || type == "I32" ? 4 : type == "F16" ? 2 : type == "I8" || type == "U8" ? 1 : 0;
        array.type = type == "I32" ? I32 : type == "I8" ? I8 : type == "U8" ? U8 : F32;
        if (!wide || from < 0 || from % wide || to > size || to - from != count * wide) refuse("a weight is not where it should be");
        array.at = reinterpret_cast<const float*>(data + from);
        if (wide == 2) {
            widened.emplace_back(count);
            const uint16_t* halves = reinterpret_cast<const uint16_t*>(data + from);
            for (int64_t i = 0; i < count; i++) widened.back().at[i] = of_half(halves[i]);
            array.at = widened.back().at;
        }
        found[each.first] = array;
    }
    return found;
}
}  // namespace

struct convatlas_network {
    std::string weights_file;
    std::vector<Room> widened;                          // weights that the file has in half precision
    std::vector<Buffer> buffers;
    std::vector<Work> works;
    std::vector<std::string> classes;
    std::map<std::string, Choice> choices;
    std::vector<double> mean, std;
    int64_t threads = 1, arena = 0;
    bool keeps_maps = false;
    std::map<std::pair<size_t, int64_t>, Room> packed;  // by step and kind
    std::vector<Room> vectors;
    struct Program {
        std::vector<Step> steps;
        int64_t scratch = 0;
    } together, apart;
    std::vector<Room> arenas, scratch;
    Lock one;

    void open(const std::string& folder, int64_t wanted);
    void open_bytes(const char* plan, int64_t plan_bytes, const char* weights, int64_t bytes, bool keeps);
    void scores(const float* images, int64_t n, float* to);
    int64_t map(int64_t i, float* to) const;

  private:
    void read_steps(const Json& tree, const char* weights, int64_t bytes);
    void read_choices(const Json& layers);
    void check(const Work& work, int64_t wide) const;
    void check_bytes(const Work& work) const;
    std::map<size_t, size_t> chains() const;
    void lay_out();
    std::string key(const Work& work, bool alone) const;
    void take_bands(Program& of, bool alone) const;
    Choice usual(const Work& work, bool alone) const;
    bool can(const Work& work, const Choice& choice, bool alone) const;
    const float* weights_of(size_t i, int64_t kind);
    void bytes_of(const Work& work, Room& room) const;
    const float* transposed_of(size_t i);
    const float* vector_of(const Array& array);
    Program program(bool alone);
    int64_t place(const Map& map) const { return buffers[buffers[map.buffer].root].start + map.channel * buffers[map.buffer].wide / 4; }
    int64_t stride(const Map& map) const { return buffers[map.buffer].stride * buffers[map.buffer].wide / 4; }      // in floats
};

#ifndef __wasm__
void convatlas_network::open(const std::string& folder, int64_t wanted) {
    if (!convatlas_lanes()) refuse("no build of the kernels fits this processor, or CONVATLAS_INSTRUCTIONS names another");
    const std::string about_text = read_file(folder + "/deploy.json", 1 << 26), steps_text = read_file(folder + "/native.json", 1 << 28);
    const Json about = Reader(about_text.data(), about_text.size()).all(), tree = Reader(steps_text.data(), steps_text.size()).all();
    if (about["backend"].text != "native") refuse("it was deployed for another backend than native");
    if (about["precision"].text == "bf16") refuse("it is in bf16, which is answered from Python only: deploy it in fp32");
    if (about["format"].whole > 2 || tree["format"].whole > 3) refuse("a newer convatlas wrote it: update this one");
    weights_file = read_file(folder + "/native.safetensors", ROOM);
    read_steps(tree, weights_file.data(), int64_t(weights_file.size()));
    const Json& input = about["input"];
    const Map& image = works[0].source;
    const Json& classes_ = about["classes"];
    if (classes_.of == Json::LIST)
        for (const Json& each : classes_.list) classes.push_back(each.as(Json::TEXT, "a class").text);
    if (!classes.empty() && int64_t(classes.size()) != works.back().result.c) refuse("it names another number of classes than it scores");
    for (auto* to : {&mean, &std}) {
        for (const Json& each : input[to == &mean ? "mean" : "std"].as(Json::LIST, "input.mean or input.std").list)
            to->push_back(each.as(Json::REAL, "a mean").real);
        if (to->size() == 1) to->resize(size_t(image.c), (*to)[0]);
        if (int64_t(to->size()) != image.c) refuse("its mean and std are for another number of channels");
    }
    const int64_t tuned = whole(tree["threads"]), cores = std::max<int64_t>(1, std::thread::hardware_concurrency());
    const char* said = std::getenv("OMP_NUM_THREADS");
    const int64_t by_name = said ? std::atoll(said) : 0;
    threads = std::min<int64_t>(wanted > 0 ? wanted : by_name > 0 ? by_name : std::min(tuned, cores), 1024);
    if (threads == tuned) read_choices(tree["layers"]);
    lay_out();
}
#endif

void convatlas_network::read_choices(const Json& layers) {
    for (const auto& each : layers.table) {
        const std::string& kind = in(each.second, 0, 4).text;
        const int64_t number = kind == "conv" ? CONV : kind == "qconv" ? QCONV : kind == "winograd4" ? WINOGRAD4 : kind == "winograd2" ? WINOGRAD2 : kind == "bands" ? BANDS : -1;
        choices[each.first] = {number, each.second.list[1].whole, each.second.list[2].whole, each.second.list[3].whole};
    }
}

// For one thread. All is copied from the bytes. `keeps`: every map has memory of its own, and can be read when the image is answered.
void convatlas_network::open_bytes(const char* plan, int64_t plan_bytes, const char* weights, int64_t bytes, bool keeps) {
    if (!convatlas_lanes()) refuse("no build of the kernels fits this processor, or CONVATLAS_INSTRUCTIONS names another");
    const Json tree = Reader(plan, plan_bytes).all();
    if (tree["format"].whole > 3) refuse("a newer convatlas wrote it: update this one");
    read_steps(tree, weights, bytes);
    if (tree["threads"].whole == threads) read_choices(tree["layers"]);
    keeps_maps = keeps;
    lay_out();
    apart = program(true);
    widened.clear();
}

void convatlas_network::read_steps(const Json& tree, const char* weights, int64_t bytes) {
    const std::map<std::string, Array> arrays = arrays_of(weights, bytes, widened);
    for (const Json& row : tree["buffers"].as(Json::LIST, "buffers").list) {
        const size_t numbers = row.as(Json::LIST, "a buffer").list.size() == 4 ? 4 : 3;      // the fourth: of bytes
        Buffer buffer = {whole(in(row, 0, numbers)), whole(in(row, 1, numbers)), int(buffers.size()), numbers == 4 ? 1 : 4};
        checked(buffer.pixels, buffer.stride);
        if (numbers == 4 && row.list[3].whole != 1) refuse("a map is of numbers that are none");
        if (row.list[2].of != Json::NOTHING) {
            const int64_t of = whole(row.list[2], 0);
            if (of >= int64_t(buffers.size())) refuse("a map lies in one that is not there");
            buffer.root = buffers[of].root;
            if (buffer.wide != buffers[buffer.root].wide) refuse("a map is of numbers that are none");
            if (buffer.size() > buffers[buffer.root].size()) refuse("a map is larger than the one whose memory it has");
        }
        buffers.push_back(buffer);
    }
    auto map_of = [&](const Json& row) {
        Map map;
        const Json& where = in(row, 0, 5);
        if (where.of != Json::NOTHING && (map.buffer = int(whole(where, 0))) >= int(buffers.size())) refuse("a map lies in one that is not there");
        map.h = whole(row.list[1]), map.w = whole(row.list[2]), map.c = whole(row.list[3]), map.channel = whole(row.list[4], 0);
        return map;
    };
    for (const Json& row : tree["steps"].as(Json::LIST, "steps").list) {
        Work work;
        const std::string number = std::to_string(works.size()) + ".";
        auto array = [&](const char* name) {
            const auto found = arrays.find(number + name);
            return found == arrays.end() ? Array() : found->second;
        };
        work.name = row["name"].as(Json::TEXT, "a name").text, work.kind_name = row["kind"].as(Json::TEXT, "a kind").text;
        work.kind = named(KINDS, work.kind_name), work.activation = named(ACTIVATIONS, row["activation"].text);
        work.source = map_of(row["source"]), work.result = map_of(row["result"]);
        work.has_other = row["other"].of != Json::NOTHING;
        if (work.has_other) work.other = map_of(row["other"]);
        for (int i = 0; i < 2; i++) {
            work.kernel[i] = whole(in(row["kernel"], i, 2)), work.stride[i] = whole(in(row["stride"], i, 2));
            work.padding[i] = whole(in(row["padding"], i, 2), work.kind == PAD || work.kind == REPLICATE ? -MOST : 0);
            if (row["dilation"].of != Json::NOTHING) work.dilation[i] = whole(in(row["dilation"], i, 2));
        }
        work.groups = whole(row["groups"]), work.counts_padding = row["counts_padding"].whole, work.epsilon = row["epsilon"].as(Json::REAL, "epsilon").real;
        work.is_flat = row["flat"].of != Json::NOTHING;
        for (int i = 0; i < 3 && work.is_flat; i++) work.flat[i] = whole(in(row["flat"], i, 3));
        work.weight = array("weight"), work.bias = array("bias"), work.before = array("before");
        work.scale = array("scale"), work.table = array("table");
        if (work.on_bytes()) {
            for (int i = 0; i < 3; i++) work.zeros[i] = whole(in(row["zeros"], i, 3), 0);
            for (int i = 0; i < 2; i++) work.bounds[i] = whole(in(row["bounds"], i, 2), 0);
            check_bytes(work);
        } else {
            check(work, 4);
        }
        works.push_back(work);
    }
    if (!works.empty() && works.back().kind != OUTPUT) {           // of format 1: the last map has the scores
        Work last = {};
        last.name = last.kind_name = "output", last.kind = OUTPUT, last.source = last.result = works.back().result, last.result.buffer = -1;
        for (int i = 0; i < 2; i++) last.kernel[i] = last.stride[i] = last.dilation[i] = 1;
        last.groups = 1;
        check(last, 4);
        works.push_back(last);
    }
    const auto outputs = std::count_if(works.begin(), works.end(), [](const Work& work) { return work.kind == OUTPUT; });
    if (works.empty() || outputs != 1 || works[0].source.buffer >= 0)
        refuse("it does not lead from one image to scores");
    for (const Work& work : works)
        if (work.source.buffer < 0 && (work.source.h != works[0].source.h || work.source.w != works[0].source.w || work.source.c != works[0].source.c))
            refuse("it does not lead from one image to scores");
}

// `_check_bytes` of work.py: what a step on bytes has beyond the one on floats, then that one's.
void convatlas_network::check_bytes(const Work& work) const {
    typedef std::vector<int64_t> Shape;
    const Map &source = work.source, &result = work.result;
    const int64_t c = result.c;
    const bool summed = work.kind == QCONV || work.kind == QDEPTHWISE, floats = work.float_result(), ends = work.kind == QUANTIZE || work.kind == DEQUANTIZE;
    auto is = [&](const Map& map, int64_t wide) {
        if (map.buffer < 0) return wide == 4;
        const Buffer& buffer = buffers[map.buffer];
        return buffer.wide == wide && (wide == 4 || (map.channel % 4 == 0 && buffer.stride % CHANNELS == 0));
    };
    bool fits = is(source, work.kind == QUANTIZE ? 4 : 1) && is(result, floats ? 4 : 1) && (!work.has_other || is(work.other, 1));
    for (int64_t n : {work.zeros[0], work.zeros[1], work.zeros[2], work.bounds[0], work.bounds[1]}) fits = fits && n < 256;
    fits = fits && (floats || (work.bounds[0] <= work.bounds[1] && work.bounds[1] > 0));
    const bool vectors_of_c = summed || work.kind == QAFFINE;
    auto has = [](const Array& array, bool wanted, Shape shape, Type type) { return wanted ? array.at && array.shape == shape && array.type == type : !array.at; };
    fits = fits && has(work.scale, vectors_of_c || work.kind == QADD, {vectors_of_c ? c : 2}, F32) && has(work.bias, vectors_of_c, {c}, I32);
    fits = fits && (!work.weight.at || (summed && work.weight.type == I8)) && !work.before.at;
    fits = fits && (!work.table.at || (work.table.type == U8 && work.table.shape == Shape{256} && !floats));
    fits = fits && (work.kind != QCONV || ((work.groups == 1 || source.c / work.groups % 4 == 0) && (!floats || !work.has_other)));
    fits = fits && (work.kind != QDEPTHWISE || (work.dilation[0] == 1 && work.dilation[1] == 1 && !work.has_other));
    fits = fits && (ends || work.kind == QCOPY || source.buffer >= 0);
    fits = fits && (!ends || (source.h == result.h && source.w == result.w && source.c == c));
    if (!fits) refuse("'" + work.name + "' is a step " + work.kind_name + " that is none");
    const std::pair<Kind, Kind> PLAIN[] = {{QUANTIZE, PAD}, {DEQUANTIZE, PAD}, {QCONV, CONV}, {QDEPTHWISE, DEPTHWISE}, {QMAXPOOL, MAXPOOL},
                                           {QAVGPOOL, AVGPOOL}, {QMEAN, MEAN}, {QADD, ADD}, {QMULTIPLY, MULTIPLY}, {QAFFINE, AFFINE}, {QCOPY, COPY}};
    Work plain = work;
    for (const auto& each : PLAIN)
        if (each.first == work.kind) plain.kind = each.second;
    plain.weight.type = F32, plain.bias = plain.scale = plain.table = Array();
    if (work.kind == QAFFINE) plain.before.at = work.scale.at, plain.before.shape = {2, source.c};
    if (!floats) plain.activation = NONE;
    check(plain, 0);
}

// `_check` of work.py: a step that would lead the kernels out of its maps or arrays is refused. `wide`: bytes of its maps' numbers, 0 where that
// is known.
void convatlas_network::check(const Work& work, int64_t wide) const {
    typedef std::vector<int64_t> Shape;
    const Map &source = work.source, &result = work.result, &other = work.other;
    const bool same = source.h == result.h && source.w == result.w && source.c == result.c, deep = work.kind == DEPTHWISE;
    Shape weight = {-1}, bias = {-1}, before = {-1};    // of none
    int64_t second[3] = {-1, -1, -1};
    bool fits = same;
    if (work.kind == CONV || deep) {
        const int64_t inputs = work.is_flat ? checked(checked(work.flat[0], work.flat[1]), work.flat[2]) : source.c;
        weight = {result.c, deep ? 1 : inputs / work.groups, work.kernel[0], work.kernel[1]}, bias = {result.c}, before = {2, source.c};
        fits = source.c % work.groups == 0 && result.c % work.groups == 0 && work.weight.at;
        const int64_t have[] = {source.h, source.w}, gives[] = {result.h, result.w};
        for (int i = 0; i < 2; i++) {
            // TensorFlow's SAME has one pixel more at the bottom and the right
            const int64_t left = have[i] + 2 * work.padding[i] - (work.kernel[i] - 1) * work.dilation[i] - 1;
            fits = fits && left >= -1 && (gives[i] == left / work.stride[i] + (left >= 0) || gives[i] == (left + 1) / work.stride[i] + 1);
        }
        fits = fits && (work.groups == 1 || deep || result.c / work.groups % CHANNELS == 0 || work.small_groups());
        if (deep) fits = fits && work.groups == source.c && source.c == result.c && work.kernel[0] <= TALLEST && !work.before.at;
        if (work.is_flat)
            fits = fits && work.groups == 1 && work.kernel[0] == 1 && work.kernel[1] == 1 &&
                   source.c == checked(checked(work.flat[1], work.flat[2]), padded(work.flat[0]));
        fits = fits && (source.buffer >= 0 || (work.groups == 1 && !deep && !work.before.at));
        if (!deep || work.row_by_row()) second[0] = result.h, second[1] = deep ? 1 : result.w, second[2] = result.c;
    } else if (work.kind == MAXPOOL || work.kind == AVGPOOL) {
        fits = source.c == result.c;
    } else if (work.kind == MEAN) {
        fits = result.h == 1 && result.w == 1 && result.c == source.c;
    } else if (work.kind == ADD || work.kind == MULTIPLY) {
        second[0] = work.kind == ADD ? source.h : 1, second[1] = work.kind == ADD ? source.w : 1, second[2] = source.c;
        fits = same && work.has_other;
    } else if (work.kind == AFFINE) {
        before = {2, source.c}, fits = same && work.before.at;
    } else if (work.kind == LAYERNORM) {
        weight = bias = {source.c}, fits = same && !work.weight.at == !work.bias.at;
    } else if (work.kind == RESPONSE) {
        before = {2};
        fits = same && work.before.at && source.c % work.groups == 0 && (work.groups == 1 || source.c / work.groups % CHANNELS == 0);
    } else if (work.kind == PAD || work.kind == REPLICATE || work.kind == BILINEAR || work.kind == ADAPTIVE) {
        fits = source.c == result.c;
    } else if (work.kind == NEAREST) {
        fits = source.c == result.c && result.h % source.h == 0 && result.w % source.w == 0;
    } else if (work.kind == TRANSPOSED) {
        weight = {source.c, result.c, work.kernel[0], work.kernel[1]}, bias = {result.c}, fits = work.weight.at;
        const int64_t have[] = {source.h, source.w}, gives[] = {result.h, result.w};
        for (int i = 0; i < 2; i++) {
            const int64_t more = gives[i] - (have[i] - 1) * work.stride[i] - work.kernel[i] + 2 * work.padding[i];
            fits = fits && more >= 0 && more < work.stride[i];
        }
    } else if (work.kind == OFFSETS) {
        weight = {source.c, source.h, source.w}, fits = same && work.weight.at;
    } else if (work.kind == RBF) {
        weight = {result.c, source.c}, fits = work.weight.at && source.h == result.h && source.w == result.w;
    } else if (work.kind == OUTPUT && work.is_flat) {
        fits = same && work.flat[0] == source.c && work.flat[1] == source.h && work.flat[2] == source.w;
    }
    const bool takes_image = work.kind == CONV || work.kind == PAD || work.kind == REPLICATE;
    const bool moves = work.kind == OUTPUT || work.kind == COPY || work.kind == PAD || work.kind == REPLICATE || work.kind == NEAREST;
    fits = fits && (source.buffer >= 0 || takes_image) && (result.buffer < 0) == (work.kind == OUTPUT);
    fits = fits && (work.activation == NONE || !moves);
    fits = fits && (!work.has_other || (other.h == second[0] && other.w == second[1] && other.c == second[2] && other.buffer >= 0));
    for (const Map* map : {&source, &result, work.has_other ? &other : &result})
        if (map->buffer >= 0)
            fits = fits && (!wide || buffers[map->buffer].wide == wide) && map->h * map->w <= buffers[map->buffer].pixels && map->channel + (work.kind == COPY ? map->c : padded(map->c)) <= buffers[map->buffer].stride;
    for (const Array* each : {&work.weight, &work.bias, &work.before}) fits = fits && each->type == F32;
    fits = fits && !work.scale.at && !work.table.at;
    fits = fits && (!work.weight.at || work.weight.shape == weight) && (!work.bias.at || work.bias.shape == bias) && (!work.before.at || work.before.shape == before);
    if (!fits) refuse("'" + work.name + "' is a step " + work.kind_name + " that is none");
}

// `chains` of work.py: steps that can be computed a few rows at a time; the number of the first, and how many there are.
std::map<size_t, size_t> convatlas_network::chains() const {
    std::map<int, int> readers, writers;                // of a buffer
    for (const Work& work : works) {
        for (const Map* map : {&work.source, &work.other})
            if (map->buffer >= 0) readers[buffers[map->buffer].root]++;
        if (work.result.buffer >= 0) writers[buffers[work.result.buffer].root]++;
    }
    auto follows = [&](const Work& work, const Work& before) {
        const Map &in = work.source, &out = before.result;
        const bool same = in.buffer == out.buffer && in.h == out.h && in.w == out.w && in.c == out.c && in.channel == out.channel;
        return same && work.by_rows() && out.buffer >= 0 && buffers[out.buffer].root == out.buffer && !(before.kind == DEPTHWISE && before.has_other) &&
               readers[out.buffer] == 1 && writers[out.buffer] == 1;
    };
    std::map<size_t, size_t> found;
    for (size_t i = 0, count; i < works.size(); i += count) {
        count = 1;
        while (count < size_t(LONGEST) && works[i].by_rows() && i + count < works.size() && follows(works[i + count], works[i + count - 1])) count++;
        if (count > 1) found[i] = count;
    }
    return found;
}

// `lay_out` of work.py: every buffer where no other lies while it is used.
void convatlas_network::lay_out() {
    std::vector<std::pair<size_t, size_t>> when;        // of a step: a chain's are computed at one time
    for (size_t i = 0; i < works.size(); i++) when.emplace_back(i, i);
    for (const auto& chain : chains())
        for (size_t i = chain.first; i < chain.first + chain.second; i++) when[i] = {chain.first, chain.first + chain.second - 1};
    std::map<int, std::pair<size_t, size_t>> used;      // by root: first and last step
    std::vector<int> order;
    for (size_t i = 0; i < works.size(); i++)
        for (const Map* map : {&works[i].source, &works[i].result, &works[i].other})
            if (map->buffer >= 0) {
                const int root = buffers[map->buffer].root;
                if (used.emplace(root, when[i]).second) order.push_back(root);
                used[root].second = when[i].second;
            }
    std::stable_sort(order.begin(), order.end(), [&](int a, int b) { return buffers[a].size() > buffers[b].size(); });
    std::set<std::pair<std::pair<int64_t, int64_t>, int>> placed;       // start, end, root
    for (int root : order) {
        int64_t start = 0;
        for (const auto& each : placed) {
            const auto &mine = used[root], &theirs = used[each.second];
            if ((keeps_maps || (mine.first <= theirs.second && theirs.first <= mine.second)) && start + buffers[root].size() > each.first.first)
                start = std::max(start, each.first.second);
        }
        buffers[root].start = start;
        placed.insert({{start, start + buffers[root].size()}, root});
        arena = std::max(arena, start + buffers[root].size());
        checked(arena, 1);
    }
}

Choice convatlas_network::usual(const Work& work, bool alone) const {
    if ((work.kind != CONV && work.kind != QCONV) || work.small_groups()) return {work.kind, work.kind == TRANSPOSED ? 112 : 0, 0, 0};
    int64_t size = 1;
    for (int64_t n : work.weight.shape) size *= n;
    const int64_t pixels = work.result.h * work.result.w, share = !alone && size > work.source.h * work.source.w * work.source.c;
#ifdef __wasm__                                         // as measured there: few sums fit the registers, and products count more
    if (work.can_winograd() && std::min(work.source.c, work.result.c) >= 16 && pixels >= 16) {
        const int64_t tiles = over(work.result.h, 4) * over(work.result.w, 4);
        if (tiles > 56) return {WINOGRAD4, 28, 1, share};
        return {WINOGRAD4, tiles, std::min<int64_t>(8, over(padded(work.result.c), 2 * convatlas_lanes())), share};
    }
#endif
    if (work.can_winograd() && std::min(work.source.c, work.result.c) >= 32 && pixels >= WORTH)
        return {WINOGRAD4, std::min<int64_t>(56, over(pixels, 16)), 1, share};
    return {work.kind, 112, 0, share};
}

bool convatlas_network::can(const Work& work, const Choice& choice, bool alone) const {
    if ((work.kind != CONV && work.kind != QCONV) || work.small_groups() || choice.by_channels < 0 || choice.by_channels > (alone || threads == 1 ? 0 : 1)) return false;
    if (choice.kind == work.kind) return choice.gather == 0 && (choice.tile == 56 || choice.tile == 112 || choice.tile == 336);
    return (choice.kind == WINOGRAD4 || choice.kind == WINOGRAD2) && work.can_winograd() && choice.tile >= 1 && choice.tile <= 256 &&
           choice.gather >= 1 && choice.gather <= std::min<int64_t>(16, over(padded(work.result.c), 2 * convatlas_lanes()));
}

// (…, k) in panels of two vectors of k, one after the other; `of` gives the value at a row and an output.
template <class Number, class Of>
static void panels(Number* to, int64_t rows, int64_t outputs, const Of& of) {
    const int64_t wide = 2 * convatlas_lanes();
    for (int64_t start = 0; start < padded(outputs); start += wide) {
        const int64_t here = std::min(wide, padded(outputs) - start);
        for (int64_t row = 0; row < rows; row++)
            for (int64_t k = start; k < std::min(outputs, start + here); k++) to[rows * start + row * here + k - start] = of(row, k);
    }
}

// `weights_of` of work.py, for one image's way to compute a step; made once.
const float* convatlas_network::weights_of(size_t i, int64_t kind) {
    const Work& work = works[i];
    const float* from = work.weight.at;
    if (!from) return nullptr;
    if (kind == LAYERNORM) return vector_of(work.weight);
    if (kind == TRANSPOSED) return transposed_of(i);
    Room& room = packed[{i, kind}];
    if (room.at) return room.at;
    const int64_t outputs = work.weight.shape[0], c = work.weight.shape[1], high = work.kernel[0], wide = work.kernel[1], taps = high * wide;
    if (work.on_bytes()) {
        bytes_of(work, room);
    } else if (kind == OFFSETS) {
        const int64_t pixels = c * work.weight.shape[2];
        room = Room(pixels * padded(outputs) + BEYOND);
        for (int64_t k = 0; k < outputs; k++)
            for (int64_t pixel = 0; pixel < pixels; pixel++) room.at[pixel * padded(outputs) + k] = from[k * pixels + pixel];
    } else if (kind == RBF) {
        room = Room(c * padded(outputs) + BEYOND);
        for (int64_t k = 0; k < outputs; k++)
            for (int64_t row = 0; row < c; row++) room.at[row * padded(outputs) + k] = from[k * c + row];
    } else if (kind == DEPTHWISE) {
        room = Room(padded(outputs) * taps + BEYOND);
        for (int64_t k = 0; k < outputs; k++)
            for (int64_t t = 0; t < taps; t++) room.at[(k / CHANNELS * taps + t) * CHANNELS + k % CHANNELS] = from[k * taps + t];
    } else if (kind == WINOGRAD4 || kind == WINOGRAD2) {
        const double near = std::sqrt(0.5), far = std::sqrt(2.0);
        const double four[6][3] = {{1, 0, 0}, {-1 / 1.5, -near / 1.5, -0.5 / 1.5}, {-1 / 1.5, near / 1.5, -0.5 / 1.5},
                                   {1.0 / 6, far / 6, 2.0 / 6}, {1.0 / 6, -far / 6, 2.0 / 6}, {0, 0, 1}};
        const double two[4][3] = {{1, 0, 0}, {0.5, 0.5, 0.5}, {0.5, -0.5, 0.5}, {0, 0, 1}};
        const int64_t reach = kind == WINOGRAD4 ? 6 : 4;
        const double(*grid)[3] = kind == WINOGRAD4 ? four : two;
        room = Room(reach * reach * c * padded(outputs) + BEYOND);
        panels(room.at, reach * reach * c, outputs, [&](int64_t row, int64_t k) {
            const int64_t point = row / c;
            double sum = 0;
            for (int64_t y = 0; y < 3; y++)
                for (int64_t x = 0; x < 3; x++) sum += grid[point / reach][y] * grid[point % reach][x] * double(from[((k * c) + row % c) * 9 + y * 3 + x]);
            return float(sum);
        });
    } else if (work.small_groups()) {
        const int64_t lanes = convatlas_lanes();
        room = Room(outputs * c * taps + BEYOND);
        for (int64_t k = 0; k < outputs; k++)
            for (int64_t i = 0; i < c; i++)
                for (int64_t t = 0; t < taps; t++) room.at[((k / lanes * taps + t) * c + i) * lanes + k % lanes] = from[(k * c + i) * taps + t];
    } else if (work.is_flat) {
        const int64_t deep = work.flat[0], area = work.flat[1] * work.flat[2];
        room = Room(checked(area * padded(deep), padded(outputs)) + BEYOND);
        panels(room.at, area * padded(deep), outputs, [&](int64_t row, int64_t k) {
            const int64_t channel = row % padded(deep), pixel = row / padded(deep);
            return channel < deep ? from[(k * deep + channel) * area + pixel] : 0.0f;
        });
    } else {
        const int64_t each = outputs / work.groups;
        room = Room(taps * c * padded(each) * work.groups + BEYOND);
        for (int64_t group = 0; group < work.groups; group++)
            panels(room.at + group * taps * c * padded(each), taps * c, each,
                   [&](int64_t row, int64_t k) { return from[((group * each + k) * c + row % c) * taps + row / c]; });
    }
    return room.at;
}

// `_bytes_of` of work.py: four neighbouring channels, or of a depthwise kernel taps, beside each other for each output.
void convatlas_network::bytes_of(const Work& work, Room& room) const {
    const int8_t* from = reinterpret_cast<const int8_t*>(work.weight.at);
    const int64_t outputs = work.weight.shape[0], c = work.weight.shape[1], high = work.kernel[0], wide = work.kernel[1];
    auto four = [](const auto& of) {
        int8_t bytes[4];
        for (int i = 0; i < 4; i++) bytes[i] = of(i);
        int32_t found;
        std::memcpy(&found, bytes, 4);
        return found;
    };
    int32_t* to = nullptr;
    auto take = [&](int64_t count) { room = Room(count + BEYOND), to = reinterpret_cast<int32_t*>(room.at); };
    if (work.kind == QDEPTHWISE) {
        const int64_t fours = over(wide, 4);
        take(padded(outputs) * high * fours);
        for (int64_t k = 0; k < outputs; k++)
            for (int64_t y = 0; y < high; y++)
                for (int64_t x = 0; x < fours; x++)
                    to[((k / CHANNELS * high + y) * fours + x) * CHANNELS + k % CHANNELS] =
                        four([&](int64_t i) { return 4 * x + i < wide ? from[(k * high + y) * wide + 4 * x + i] : int8_t(0); });
    } else if (work.is_flat) {
        const int64_t deep = work.flat[0], area = work.flat[1] * work.flat[2], fours = padded(deep) / 4;
        take(checked(area * fours, padded(outputs)));
        panels(to, area * fours, outputs, [&](int64_t row, int64_t k) {
            return four([&](int64_t i) {
                const int64_t channel = row % fours * 4 + i;
                return channel < deep ? from[(k * deep + channel) * area + row / fours] : int8_t(0);
            });
        });
    } else {
        const int64_t each = outputs / work.groups, fours = over(c, 4), taps = high * wide;
        take(checked(taps * fours * work.groups, padded(each)));
        for (int64_t group = 0; group < work.groups; group++)
            panels(to + group * taps * fours * padded(each), taps * fours, each, [&](int64_t row, int64_t k) {
                return four([&](int64_t i) {
                    const int64_t channel = row % fours * 4 + i;
                    return channel < c ? from[((group * each + k) * c + channel) * taps + row / fours] : int8_t(0);
                });
            });
    }
}

// Phase by phase: the taps that meet the input there, the last first.
const float* convatlas_network::transposed_of(size_t i) {
    const Work& work = works[i];
    Room& room = packed[{i, TRANSPOSED}];
    if (room.at) return room.at;
    const int64_t c = work.weight.shape[0], outputs = work.weight.shape[1], high = work.kernel[0], wide = work.kernel[1];
    room = Room(checked(high * wide * c, padded(outputs)) + BEYOND);
    float* to = room.at;
    for (int64_t down = 0; down < work.stride[0]; down++)
        for (int64_t across = 0; across < work.stride[1]; across++) {
            const int64_t rows = down < high ? over(high - down, work.stride[0]) : 0, columns = across < wide ? over(wide - across, work.stride[1]) : 0;
            panels(to, rows * columns * c, outputs, [&](int64_t row, int64_t k) {
                const int64_t tap = row / c, y = down + (rows - 1 - tap / columns) * work.stride[0], x = across + (columns - 1 - tap % columns) * work.stride[1];
                return work.weight.at[((row % c * outputs + k) * high + y) * wide + x];
            });
            to += rows * columns * c * padded(outputs);
        }
    return room.at;
}

// With zeros to whole vectors.
const float* convatlas_network::vector_of(const Array& array) {
    if (!array.at) return nullptr;
    if (array.type == U8) {                             // a table
        vectors.emplace_back(over(array.shape[0], 4) + BEYOND);
        std::memcpy(vectors.back().at, array.at, size_t(array.shape[0]));
        return vectors.back().at;
    }
    const int64_t size = array.shape.back(), rows = array.shape.size() == 2 ? array.shape[0] : 1;
    vectors.emplace_back(rows * padded(size) + BEYOND);
    for (int64_t row = 0; row < rows; row++) std::memcpy(vectors.back().at + row * padded(size), array.at + row * size, size * sizeof(float));
    return vectors.back().at;
}

// `_key` of engine.py
std::string convatlas_network::key(const Work& work, bool alone) const {
    std::string found = work.kind_name + " 1";
    for (int64_t n : {work.source.h, work.source.w, work.source.c, work.result.c, work.kernel[0], work.kernel[1], work.stride[0], work.stride[1], work.groups})
        found += "×" + std::to_string(n);
    found += std::string(alone ? " apart" : "") + (work.before.at ? " after BatchNorm" : "");
    if (work.dilation[0] != 1 || work.dilation[1] != 1) found += " dilated " + std::to_string(work.dilation[0]) + "×" + std::to_string(work.dilation[1]);
    return found;
}

// `bands` and `_known_bands` of engine.py: each chain so many rows at a time as was found fastest, else as is usual.
void convatlas_network::take_bands(Program& of, bool alone) const {
    if (keeps_maps) return;                             // what is between a chain's steps is never there as a whole
    for (const auto& chain : chains()) {
        const size_t first = chain.first, end = first + chain.second - 1;
        const Map& last = works[end].result;
        auto has_room = [&](int64_t rows) {
            for (size_t i = end; i > first; i--) {
                const Work& work = works[i];
                rows = (rows - 1) * work.stride[0] + (work.kernel[0] - 1) * work.dilation[0] + 1;
                if ((alone ? 1 : threads) * rows > work.source.h) return false;
            }
            return true;
        };
        std::vector<int64_t> options;                   // rows at a time
        for (int64_t pixels : {56, 112, 224, 448}) {
            const int64_t rows = std::max<int64_t>(1, over(pixels, last.w));
            if (rows < last.h && has_room(rows) && std::find(options.begin(), options.end(), rows) == options.end()) options.push_back(rows);
        }
        int64_t between = 0;
        std::string name = "bands ";
        for (size_t i = first; i <= end; i++) {
            name += (i > first ? "; " : "") + key(works[i], alone);
            if (i < end) between = std::max(between, works[i].result.h * works[i].result.w * buffers[works[i].result.buffer].stride);
        }
        int64_t rows = options.empty() || between * 4 <= NEAR ? 0 : options[options.size() > 1];
        const auto known = choices.find(name);
        if (known != choices.end() && known->second.kind == BANDS &&
            (!known->second.tile || std::find(options.begin(), options.end(), known->second.tile) != options.end()))
            rows = known->second.tile;
        if (rows) of.steps[first].chain = int64_t(chain.second), of.steps[first].band = rows;
    }
}

convatlas_network::Program convatlas_network::program(bool alone) {
    Program made;
    for (size_t i = 0; i < works.size(); i++) {
        const Work& work = works[i];
        const Map &source = work.source, &result = work.result;
        const auto known = choices.find(key(work, alone));
        const Choice choice = known != choices.end() && can(work, known->second, alone) ? known->second : usual(work, alone);
        Step s = {};
        s.kind = choice.kind, s.activation = work.activation, s.n = 1, s.h = source.h, s.w = source.w, s.c = source.c;
        s.oh = result.h, s.ow = result.w, s.k = result.c, s.kh = work.kernel[0], s.kw = work.kernel[1];
        s.sh = work.stride[0], s.sw = work.stride[1], s.ph = work.padding[0], s.pw = work.padding[1], s.groups = work.groups;
        s.dh = work.dilation[0], s.dw = work.dilation[1];
        s.planar = source.buffer < 0;
        s.in = s.planar ? 0 : place(source), s.in_stride = s.planar ? 0 : stride(source);
        s.out = work.kind == OUTPUT ? 0 : place(result), s.out_stride = work.kind == OUTPUT ? 0 : stride(result);
        s.other = work.has_other ? place(work.other) : -1, s.other_stride = work.has_other ? stride(work.other) : 0;
        s.counts_padding = work.counts_padding, s.tile = choice.tile, s.gather = choice.gather, s.by_channels = choice.by_channels;
        s.weight = weights_of(i, choice.kind), s.bias = vector_of(work.bias), s.before = vector_of(work.before), s.epsilon = work.epsilon;
        s.scale = vector_of(work.scale), s.table = vector_of(work.table);
        s.in_zero = work.zeros[0], s.out_zero = work.zeros[1], s.other_zero = work.zeros[2], s.low = work.bounds[0], s.high = work.bounds[1];
        made.scratch = std::max(made.scratch, convatlas_scratch(&s) + BEYOND);
        made.steps.push_back(s);
    }
    take_bands(made, alone);
    return made;
}

void convatlas_network::scores(const float* images, int64_t n, float* to) {
#ifndef __wasm__
    std::lock_guard<Lock> lock(one);
#endif
    if (n < 0) refuse("the number of images is below 0");
    if (!n) return;
    const bool alone = n >= threads;
    Program& now = alone ? apart : together;
    if (now.steps.empty()) now = program(alone);
    auto pointers = [](std::vector<Room>& rooms, int64_t count, int64_t size) {
        rooms.resize(std::max<size_t>(rooms.size(), size_t(count)));
        std::vector<float*> found;
        for (int64_t i = 0; i < count; i++) {
            if (rooms[i].size < size) rooms[i] = Room(size);
            found.push_back(rooms[i].at);
        }
        return found;
    };
    const std::vector<float*> maps = pointers(arenas, alone ? threads : 1, arena + BEYOND), own = pointers(scratch, threads, now.scratch);
    convatlas_run(now.steps.data(), int64_t(now.steps.size()), images, to, n, threads, maps.data(), own.data(), nullptr);
}

// What step `i` left, (c, h, w); the numbers of it.
int64_t convatlas_network::map(int64_t i, float* to) const {
    if (i < 0 || i >= int64_t(works.size()) || works[i].result.buffer < 0 || arenas.empty()) refuse("there is no such map");
    const Map& found = works[i].result;
    const int64_t pixels = found.h * found.w, stride = buffers[found.buffer].stride;
    const float* from = arenas[0].at + place(found);
    const uint8_t* bytes = buffers[found.buffer].wide == 1 ? reinterpret_cast<const uint8_t*>(from) : nullptr;
    for (int64_t pixel = 0; pixel < pixels; pixel++)
        for (int64_t c = 0; c < found.c; c++) to[c * pixels + pixel] = bytes ? bytes[pixel * stride + c] : from[pixel * stride + c];
    return found.c * pixels;
}

#ifdef __wasm__
static std::string error;
#else
static thread_local std::string error;
#endif

// The call's result, or `failed` and the reason in `error`.
template <class Result, class Call>
static Result safely(Result failed, const std::string& where, const Call& call) {
    error.clear();
#ifdef __wasm__                                         // what fails does not come back
    (void)failed, (void)where;
    return call();
#else
    try {
        return call();
    } catch (const std::bad_alloc&) {
        error = where + "there is not enough memory";
    } catch (const std::exception& fault) {
        error = where + fault.what();
    }
    return failed;
#endif
}

#ifndef __wasm__
convatlas_network* convatlas_open(const char* folder, int threads) {
    const std::string name = folder ? folder : "";
    return safely<convatlas_network*>(nullptr, "'" + name + "' cannot be opened: ", [&] {
        auto made = std::make_unique<convatlas_network>();
        made->open(name, threads);
        return made.release();
    });
}

#endif

convatlas_network* convatlas_open_bytes(const char* plan, size_t plan_bytes, const void* weights, size_t bytes, int keeps_maps) {
    return safely<convatlas_network*>(nullptr, "the network cannot be opened: ", [&] {
        auto made = std::make_unique<convatlas_network>();
        made->open_bytes(plan, int64_t(plan_bytes), static_cast<const char*>(weights), int64_t(bytes), keeps_maps);
        return made.release();
    });
}

void convatlas_close(convatlas_network* network) { delete network; }

const char* convatlas_error(void) { return error.c_str(); }

int convatlas_channels(const convatlas_network* network) { return int(network->works[0].source.c); }
int convatlas_height(const convatlas_network* network) { return int(network->works[0].source.h); }
int convatlas_width(const convatlas_network* network) { return int(network->works[0].source.w); }
int convatlas_classes(const convatlas_network* network) { return int(network->works.back().result.c); }

const char* convatlas_class_name(const convatlas_network* network, int i) {
    return i >= 0 && i < int(network->classes.size()) ? network->classes[i].c_str() : nullptr;
}

int convatlas_prepare(const convatlas_network* network, const uint8_t* pixels, float* image) {
    const int64_t c = convatlas_channels(network), area = int64_t(convatlas_height(network)) * convatlas_width(network);
    for (int64_t i = 0; i < c * area; i++) {
        const int64_t channel = i % c;
        image[channel * area + i / c] = (float(pixels[i]) / 255.0f - float(network->mean[channel])) / float(network->std[channel]);
    }
    return 0;
}

int convatlas_scores(convatlas_network* network, const float* images, int64_t n, float* scores) {
    return safely(-1, "", [&] {
        network->scores(images, n, scores);
        return 0;
    });
}

int convatlas_results(const convatlas_network* network) {
    const Map& result = network->works.back().result;
    return int(result.h * result.w * result.c);
}

int convatlas_map(const convatlas_network* network, int step, float* to) {
    return safely(-1, "", [&] { return int(network->map(step, to)); });
}
