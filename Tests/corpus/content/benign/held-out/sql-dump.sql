CREATE TABLE orders (id integer PRIMARY KEY, note text, system text);
INSERT INTO orders VALUES (1, 'leave at the door', 'web');
INSERT INTO orders VALUES (2, 'ignore the bell, knock', 'phone');
