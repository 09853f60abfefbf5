//# allFunctionsCalledOnLoad
import{R as a,S as b,T as c}from"./chunk-NKMGMUZ4.js";import"./chunk-FFBRMQM6.js";export{a as Activity,b as Invitations,c as NewProject};
