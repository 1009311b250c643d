-- What is remembered of a conversation: its messages from the one on at which its window stands.
-- uses remembered
--
-- KEYS  1 conversation  2 message order  3 messages
-- returns  {} where there is no such conversation, else {the window's start, message as JSON, ...}

return remembered(KEYS[1], KEYS[2], KEYS[3])
