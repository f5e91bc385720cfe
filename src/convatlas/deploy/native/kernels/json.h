// JSON, as far as our own files have it, within bounds. Whatever else is in a text is refused.
#pragma once
#include <cmath>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "fault.h"

struct Json {
    enum Of { NOTHING, TRUTH, WHOLE, REAL, TEXT, LIST, TABLE } of = NOTHING;
    int64_t whole = 0;                                  // TRUTH and WHOLE
    double real = 0;                                    // WHOLE and REAL
    std::string text;
    std::vector<Json> list;
    std::vector<std::pair<std::string, Json>> table;

    const Json& operator[](const char* name) const {    // nothing where it is not there
        static const Json nothing;
        for (const auto& each : table)
            if (each.first == name) return each.second;
        return nothing;
    }
    const Json& as(Of kind, const char* what) const {
        if (of != kind && !(kind == REAL && of == WHOLE)) refuse(std::string(what) + " is missing, or of another kind");
        return *this;
    }
};

class Reader {
    const char *at, *end;

    [[noreturn]] static void fail() { refuse("it is no JSON"); }
    void space() {
        while (at < end && (*at == ' ' || *at == '\n' || *at == '\r' || *at == '\t')) at++;
    }
    bool is(char c) {
        space();
        if (at == end || *at != c) return false;
        at++;
        return true;
    }
    void word(const char* letters) {
        for (; *letters; letters++)
            if (at == end || *at++ != *letters) fail();
    }
    uint32_t four() {
        uint32_t code = 0;
        for (int i = 0; i < 4; i++, at++) {
            if (at == end) fail();
            const char c = *at;
            code = code * 16 + (c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : (fail(), 0));
        }
        return code;
    }
    static void utf8(uint32_t code, std::string& to) {
        const int more = code < 0x80 ? 0 : code < 0x800 ? 1 : code < 0x10000 ? 2 : 3;
        const uint32_t head[] = {0, 0xc0, 0xe0, 0xf0};
        to += char(head[more] | code >> 6 * more);
        for (int i = more; i-- > 0;) to += char(0x80 | (code >> 6 * i & 0x3f));
    }
    std::string text() {
        std::string found;
        for (;;) {
            if (at == end) fail();
            const char c = *at++;
            if (c == '"') return found;
            if (c != '\\') {
                found += c;
                continue;
            }
            if (at == end) fail();
            switch (const char escaped = *at++) {
                case 'n': found += '\n'; break;
                case 't': found += '\t'; break;
                case 'r': found += '\r'; break;
                case 'b': found += '\b'; break;
                case 'f': found += '\f'; break;
                case 'u': {
                    uint32_t code = four();
                    if (code >= 0xd800 && code < 0xdc00 && end - at > 6 && at[0] == '\\' && at[1] == 'u') {
                        at += 2;
                        code = 0x10000 + ((code & 0x3ff) << 10) + (four() & 0x3ff);
                    }
                    utf8(code, found);
                    break;
                }
                default: found += escaped;
            }
        }
    }
    Json number() {
        Json found;
        const bool minus = *at == '-';
        if (minus) at++;
        double value = 0;
        int64_t whole = 0, shift = 0, power = 0;
        bool any = false, real = false;
        for (; at < end && ((*at >= '0' && *at <= '9') || (*at == '.' && !real)); at++) {
            if (*at == '.') {
                real = true;
                continue;
            }
            any = true, value = value * 10 + (*at - '0'), shift -= real;
            whole = whole > INT64_MAX / 16 ? INT64_MAX / 16 : whole * 10 + (*at - '0');
        }
        if (!any) fail();
        if (at < end && (*at == 'e' || *at == 'E')) {
            real = true, at++;
            const bool down = at < end && *at == '-';
            if (at < end && (*at == '-' || *at == '+')) at++;
            for (; at < end && *at >= '0' && *at <= '9'; at++) power = power > 9999 ? power : power * 10 + (*at - '0');
            shift += down ? -power : power;
        }
        found.of = real ? Json::REAL : Json::WHOLE;
        found.whole = minus ? -whole : whole;
        found.real = (minus ? -1 : 1) * (shift < 0 ? value / std::pow(10.0, double(-shift)) : value * std::pow(10.0, double(shift)));
        return found;
    }
    Json value(int depth) {
        if (depth > 64) fail();
        space();
        if (at == end) fail();
        Json found;
        switch (*at) {
            case '{':
                at++, found.of = Json::TABLE;
                if (is('}')) return found;
                do {
                    if (!is('"')) fail();
                    std::string name = text();
                    if (!is(':')) fail();
                    found.table.emplace_back(std::move(name), value(depth + 1));
                } while (is(','));
                if (!is('}')) fail();
                return found;
            case '[':
                at++, found.of = Json::LIST;
                if (is(']')) return found;
                do found.list.push_back(value(depth + 1));
                while (is(','));
                if (!is(']')) fail();
                return found;
            case '"': at++, found.of = Json::TEXT, found.text = text(); return found;
            case 't': word("true"), found.of = Json::TRUTH, found.whole = 1; return found;
            case 'f': word("false"), found.of = Json::TRUTH; return found;
            case 'n': word("null"); return found;
            default: return number();
        }
    }

  public:
    Reader(const char* text, size_t size) : at(text), end(text + size) {}
    Json all() {
        Json found = value(0);
        space();
        if (at != end) fail();
        return found;
    }
};
