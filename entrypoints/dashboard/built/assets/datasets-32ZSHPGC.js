import{b as t,e as o}from"./chunk-6MA5KLDK.js";import"./chunk-L7H5YR3U.js";import"./chunk-BKVE4JEJ.js";import"./chunk-E2I5BGBD.js";export{t as Dataset,o as Datasets};
