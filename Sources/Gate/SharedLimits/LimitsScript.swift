// The one script of shared limits, its arguments and its answers. Each call is about one key.
// It relies on Redis' own clock (TIME), and on Redis 5 or later, which replicates what a script did and not the script.
// Tests/FlowSimulation/LeaseStore.swift is the same as a model; tests with a real Redis hold this one to its promise.
import Intercept
import Policy
import Wire

enum LimitsScript {
  static let text = """
    local clock = redis.call('TIME')
    local now = clock[1] * 1000000 + clock[2]
    local key, operation = KEYS[1], ARGV[1]

    -- One bucket: the moment when it will be full (GCRA), in microseconds.
    local function tokens(rate, window, want, back, charge, seen, born, till)
      local full = tonumber(redis.call('GET', key))
      -- Whoever asked has given it up, and has not what it would be given.
      if till > 0 and now > till then return {-1, full or 0, now} end
      if not full then full = born > 0 and born + window or 0 end
      local function cost(count) return count * 60000000 / rate end
      -- What was spent without asking may be more than there was: it is paid back, up to a whole window.
      full = math.min(math.max(full, seen, now) + math.ceil(cost(charge)), now + window * 2)
      full = math.max(now, full - math.floor(cost(back)))
      local room = math.max(0, now + window - full)
      local granted = math.min(want, math.floor(room * rate / 60000000))
      full = full + math.min(room, math.ceil(cost(granted)))
      local ends = math.max(full, born > 0 and born + window or 0)
      local lives = math.ceil((ends - now) / 1000) + 1000
      redis.call('SET', key, string.format('%.0f', full), 'PX', string.format('%.0f', lives))
      return {granted, full, now}
    end

    -- One `concurrent`: each gate's slots, and until when they are its own.
    local function slots(gate, limit, live, want, expiry, grace, born)
      local held, others = redis.call('HGETALL', key), 0
      for i = 1, #held, 2 do
        local count, ends = string.match(held[i + 1], '^(%d+):(%d+)$')
        if not ends or tonumber(ends) <= now then
          redis.call('HDEL', key, held[i])
        elseif held[i] ~= gate then
          others = others + tonumber(count)
        end
      end
      local mine = math.max(live, math.min(want, limit - others))
      if born > 0 and now < born + grace * 1000 then mine = live end
      if mine > 0 then
        redis.call('HSET', key, gate, string.format('%.0f:%.0f', mine, now + expiry * 1000))
        redis.call('PEXPIRE', key, expiry * 2)
      else
        redis.call('HDEL', key, gate)
      end
      return {mine, others}
    end

    -- The gates of a group, and the mark of this store: another mark tells that it has forgotten.
    local function announce(gate, known, fresh, expiry, kept)
      local mark, born = redis.call('HGET', key, '#mark'), tonumber(redis.call('HGET', key, '#born'))
      if not mark then
        mark, born = fresh, known ~= '' and now or 0
        redis.call('HSET', key, '#mark', mark, '#born', string.format('%.0f', born))
      elseif known ~= '' and known ~= mark and born == 0 then
        born = now
        redis.call('HSET', key, '#born', string.format('%.0f', born))
      end
      redis.call('HSET', key, gate, string.format('%.0f', now + expiry * 1000))
      redis.call('PEXPIRE', key, kept)
      local all, gates = redis.call('HGETALL', key), 0
      for i = 1, #all, 2 do
        if string.sub(all[i], 1, 1) ~= '#' then
          if tonumber(all[i + 1]) <= now then redis.call('HDEL', key, all[i]) else gates = gates + 1 end
        end
      end
      return {gates, mark, born}
    end

    local function number(index) return tonumber(ARGV[index]) end
    if operation == 'tokens' then
      return tokens(number(2), number(3), number(4), number(5), number(6), number(7), number(8), number(9))
    elseif operation == 'slots' then
      return slots(ARGV[2], number(3), number(4), number(5), number(6), number(7), number(8))
    elseif operation == 'announce' then
      return announce(ARGV[2], ARGV[3], ARGV[4], number(5), number(6))
    end
    redis.call('HDEL', key, ARGV[2])
    return {}
    """

  private static let digest = Digest.hexadecimal(Digest.sha1(Array(text.utf8)))

  /// The words of a request; nil key: of the group as such. `isKnown`: the server should have the script.
  static func words(_ request: LeaseRequest, key: [UInt8], gate: String, isKnown: Bool) -> [[UInt8]] {
    let opening = isKnown ? [Array("EVALSHA".utf8), digest] : [Array("EVAL".utf8), Array(text.utf8)]
    return opening + [Array("1".utf8), key] + arguments(request.command, gate).map { Array($0.utf8) }
  }

  private static func arguments(_ command: LeaseCommand, _ gate: String) -> [String] {
    switch command {
    case .announce(let known, let fresh):
      return ["announce", gate, known, fresh, "\(LeaseTimes.gateExpiryMs)", "\(LeaseTimes.groupExpiryMs)"]
    case .leave: return ["leave", gate]
    case .tokens(let asked):
      return [
        "tokens", "\(asked.limit.perMinute)", "\(asked.limit.windowUs)", "\(asked.want)", "\(asked.back)",
        "\(asked.charge)", "\(asked.seenFullAtUs)", "\(asked.bornUs)", "\(asked.untilUs)",
      ]
    case .slots(let asked):
      return [
        "slots", gate, "\(asked.limit)", "\(asked.live)", "\(asked.want)", "\(LeaseTimes.slotExpiryMs)",
        "\(LeaseTimes.slotGraceMs)", "\(asked.bornUs)",
      ]
    }
  }

  /// nil where it is nothing that the script answers.
  static func reply(_ value: RedisValue, to command: LeaseCommand) -> LeaseReply? {
    guard let values = value.asList else { return nil }
    if case .leave = command { return .left }
    guard values.count >= 2, let first = values[0].asInteger else { return nil }
    if case .tokens = command { guard first >= -1 else { return nil } } else if first < 0 { return nil }
    switch command {
    case .announce:
      guard values.count == 3, let mark = values[1].asString, let born = values[2].asInteger, born >= 0 else {
        return nil
      }
      return .group(gates: first, mark: mark, bornUs: UInt64(clamping: born))
    case .tokens:
      guard values.count == 3, let full = values[1].asInteger, let now = values[2].asInteger, full >= 0, now >= 0
      else { return nil }
      return .tokens(granted: first < 0 ? nil : first, fullAtUs: UInt64(clamping: full), nowUs: UInt64(clamping: now))
    case .slots:
      guard let others = values[1].asInteger, others >= 0 else { return nil }
      return .slots(mine: first, others: others)
    case .leave: return .left
    }
  }

  // MARK: - Keys

  private static let prefix = Array("sluice:".utf8)
  private static let digestBytes = 16

  /// A digest: what clients and rules are called is nobody's who may read the store.
  static func key(group: String, _ key: LeaseKey?) -> [UInt8] {
    var bytes: [UInt8] = []
    for part in [group] + (key.map { [$0.client, $0.rule, $0.kind.rawValue] } ?? []) {
      JSONText.appendDecimal(UInt64(clamping: part.utf8.count), to: &bytes)
      bytes += [UInt8(ascii: ":")] + part.utf8
    }
    return prefix + Digest.hexadecimal(Array(Digest.sha256(bytes).prefix(digestBytes)))
  }
}
